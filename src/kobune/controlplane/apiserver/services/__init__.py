"""Services: their addresses and ports, and the one through which pods find the API server."""
