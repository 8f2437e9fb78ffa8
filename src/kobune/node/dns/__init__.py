"""Cluster DNS: what kube-dns or CoreDNS does in a cluster, on every node."""
