"""What runs containers: the Protocol the kubelet needs, and its implementations."""
