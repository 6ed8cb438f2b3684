"""Engines turn requests into tokens. `base` is their contract, `registry` makes one by name.

In: a `Request` with decoded pictures and sounds. Out: pieces of text with their tokens. The only package
beside training that imports torch.
"""
