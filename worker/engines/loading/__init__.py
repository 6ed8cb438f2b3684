"""Loads a model's folder: weights, processor, devices, packed layers, the generation config's checks.

How are weights and processor read? `pretrained.py` (`pretrained`).
Which prompts and parameters can a model take? `language.py` (`Language`).
Which files of a model change its answers? `model_folder.py` (`digest_folder`).
What of transformers is used that it does not document? `transformers_internals.py` (`compiled_template`).
"""
