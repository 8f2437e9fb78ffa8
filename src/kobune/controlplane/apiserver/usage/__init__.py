"""What nodes and pods use now, from their kubelets: the metrics.k8s.io API."""
