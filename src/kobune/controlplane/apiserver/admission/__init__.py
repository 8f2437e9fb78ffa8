"""Admission: the plugins that change or refuse a write, one file each, under their upstream names."""
