"""Grammars that hold an answer to a schema, a regular expression or function calls (llguidance).

In: a JSON Schema or functions. Out: a compiled grammar, tried in a child process first; later, whether the
finished answer matches its schema.
"""
