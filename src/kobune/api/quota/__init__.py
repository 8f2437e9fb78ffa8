"""What objects are charged for where a ResourceQuota limits their namespace, and whom its scopes hold."""
