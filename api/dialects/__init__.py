"""Dialects: each translates one wire format to and from the canonical request, job and result.

`from_…` reads a parsed body, `to_…` writes an answer. Pure functions without framework, store or I/O; a
dialect changes only when its wire format does, and never asks what a model can do.

Which fields are ignored, and which refused? `unknown_fields.py` (`HINTS`, `Constraint`).
How may a picture be written? `media.py` (`medium`).
Which parameters are there, and under which names? `sampling.py` (`Sampling`).
"""
