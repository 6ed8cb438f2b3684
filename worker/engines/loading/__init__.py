"""Loads a model's folder: weights, processor, devices, packed layers, the generation config's checks.

In: a model's row and its folder. Out: a `LoadedModel`. Imports `worker.engines.base` and below.
"""
