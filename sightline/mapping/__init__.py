"""`sightline map`: one question about each row of an input, each answered once, whatever is killed meanwhile.

Imports httpx and pydantic only, and other packages where an input needs them: Python programs call it, too.
"""
