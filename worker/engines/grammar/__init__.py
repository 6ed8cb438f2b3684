"""Grammars that hold an answer to a schema, a regular expression or function calls (llguidance).

Where does a format become a grammar? `compiler.py` (`Grammars`).
What if compiling a caller's grammar hangs or crashes? `sandbox.py` (`compile_error`).
Where is a finished answer checked against its schema? `answer_check.py` (`violation`).
"""
