"""Simulated nodes: thousands of kubelets in one event loop, without containers."""
