"""cluster-autoscaler: adds nodes for pods that fit nowhere, and removes those whose pods fit elsewhere."""
