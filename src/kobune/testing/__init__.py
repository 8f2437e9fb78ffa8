"""Clusters for tests: everything in the test's process."""
