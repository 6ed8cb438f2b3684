"""Engines turn requests into tokens.

What must an engine do? `base.py` (`Engine`).
Which engine does a model's row name? `registry.py` (`create`).
When does a model fall back to one answer at a time? `continuous/engine.py` (`AutoEngine`).
"""
