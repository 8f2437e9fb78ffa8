"""Server-side apply: who manages which fields, and what an apply makes of an object. Pure functions over JSON.

Source: sigs.k8s.io/structured-merge-diff as Kubernetes 1.36 uses it.
"""
