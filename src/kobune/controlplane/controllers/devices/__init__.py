"""Devices: claims to them, and what becomes of pods whose devices are tainted."""
