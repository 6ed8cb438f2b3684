"""Decodes callers' pictures and sounds in child processes with limits of time and memory.

In: blobs. Out: RGB pixels, samples. Imports `shared`.
"""
