"""How our components speak the Kubernetes API: requests, watches, informers, work queues; over HTTPS or in process."""
