"""What MODEL of `sightline run MODEL` means: how it is found, served and fetched.

Which row of the models file does a MODEL get? `argument.py` (`write_models_file`).
How are device, engine and rows chosen, and which GPUs may be used? `choice.py` (`choose`, `usable_gpus`).
How are a model's files fetched from the hub? `download.py` (`described`).
"""
