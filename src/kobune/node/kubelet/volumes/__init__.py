"""Volumes of pods: one file per type, set up below the pod's directory and taken down with it."""
