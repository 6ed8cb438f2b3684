"""How the weights of models/tiny are made: generated pictures and conversations, two phases, held-out tests.

Imports nothing of the service, and nothing of the service imports it."""
