"""Dialects: each translates one wire format to and from the canonical request, job and result.

`from_…` reads a parsed body, `to_…` writes an answer. Pure functions without framework, store or I/O; a
dialect changes only when its wire format does, and never asks what a model can do.
"""
