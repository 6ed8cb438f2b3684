"""Pure translations between one wire format each and the canonical request, job and result.

`from_…` reads a parsed body, `to_…` writes an answer. No framework, no store, no I/O; a dialect changes only
when its wire format does, and never asks what a model can do.
"""
