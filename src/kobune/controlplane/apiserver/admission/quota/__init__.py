"""What ResourceQuotas charge for, and the books that are kept of it."""
