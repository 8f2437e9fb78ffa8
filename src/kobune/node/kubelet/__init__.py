"""The kubelet: makes the pods bound to one node run there, and reports how they fare."""
