"""`sightline map`: one question about each row of an input, each answered once, whatever is killed meanwhile.

Imports httpx and pydantic only, and other packages where an input needs them: Python programs call it, too.

What is known after a kill? `journal.py` (`Journal`).
What becomes a row? `rows.py` (`source`).
What is asked at once, and what goes on? `run.py` (`map_rows`).
"""
