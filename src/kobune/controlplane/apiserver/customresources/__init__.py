"""Custom resources: definitions become kinds that are served, checked, converted and, in the end, cleaned up."""
