"""`sightline map`: one question about each row of an input, each answered once, whatever is killed meanwhile.

Imports httpx and pydantic only, and other packages where an input needs them: Python programs call it, too.

What is known after a kill? `journal.py` (`Journal`).
What becomes a row? `rows.py` (`source`).
Where does a map begin, go on and end? `run.py` (`map_rows`).
"""
