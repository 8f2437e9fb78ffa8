"""Who may do what: one file per way of deciding it."""
