"""From a request to the model's inputs: chat templates, picture tokens, the budget of tokens.

In: a `Request` and its pictures. Out: tensors by name, as the model's forward pass takes them.
"""
