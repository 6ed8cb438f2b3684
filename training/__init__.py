"""How the weights of models/tiny are made: generated pictures and conversations, two phases, a held-out table.

Imports nothing of the service, and nothing of the service imports it."""
