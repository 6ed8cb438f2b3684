"""`sightline map`: one question about each row of an input, each answered once, whatever is killed meanwhile.

Imports httpx and obstore only, and pyarrow where a table is read or written: Python programs call it, too.
"""
