"""PersistentVolumes: bound to claims, made for them, expanded, attached to nodes and reclaimed."""
