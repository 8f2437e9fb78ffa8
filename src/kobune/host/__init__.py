"""Wires the components together and runs them: the service, its clusters, their control planes and nodes."""
