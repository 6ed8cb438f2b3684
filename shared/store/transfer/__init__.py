"""From one store to another: what `sightline store export` writes and `sightline store import` reads.

What does an export say of a job? `lines.py` (`JobLine`).
Which older stores can be read? `layout_sl7.py` (`StoreReader`).
What becomes of a line that is imported twice? `restore.py` (`StoreWriter`).
"""
