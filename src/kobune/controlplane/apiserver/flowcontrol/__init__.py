"""API Priority and Fairness: no client keeps the server from the others."""
