"""The Kubernetes API as data and pure functions; no I/O, and nothing else of ours is imported here."""
