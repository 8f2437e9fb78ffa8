"""API versions that other servers of the cluster answer: APIServices."""
