"""Network policies: who may speak with the pods of this node, and with whom these may speak."""
