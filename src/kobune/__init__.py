"""Kobune: a managed Kubernetes service in Python."""

__version__ = "0.1.0"
