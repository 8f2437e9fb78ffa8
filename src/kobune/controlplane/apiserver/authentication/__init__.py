"""Who asks: one file per way of proving it."""
