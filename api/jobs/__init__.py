"""Jobs after their admission: reading, waiting, events, cancelling.

How does a caller wait for an end or the next event? `waiting.py` (`Waiting`).
What becomes of a job whose caller hangs up? `disconnects.py` (`Disconnects`).
Where is a job cancelled or deleted? `service.py` (`cancel`, `purge`).
"""
