"""kube-scheduler: a queue of pods, a table of nodes as arrays, plugins that judge all nodes at once."""
