"""CEL, with the functions that Kubernetes adds: rules of custom kinds, conditions of webhooks, admission policies."""
