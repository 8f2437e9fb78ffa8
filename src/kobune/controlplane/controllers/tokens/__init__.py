"""Tokens kept in Secrets: of ServiceAccounts, and of nodes that join."""
