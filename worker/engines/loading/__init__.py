"""Loads a model's folder: weights, processor, devices, packed layers, the generation config's checks.

How are weights and processor read? `pretrained.py` (`pretrained`).
Which prompts and parameters can a model take? `language.py` (`Language`).
Which workers may share cached answers? `fingerprint.py` (`fingerprint`).
"""
