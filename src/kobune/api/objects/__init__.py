"""Typed read views of the kinds our own components read: msgspec Structs that name only the fields they use.

A view is decoded straight from an object's bytes and never written back: fields it does not name would be lost.
One module per API group; add a field where a component first needs it.
"""
