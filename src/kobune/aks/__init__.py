"""The managed service: VM sizes, reservations, versions, clusters and node pools, as AKS defines them."""
