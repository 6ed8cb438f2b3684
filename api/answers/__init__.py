"""Calls that are answered with the result: whole, or as a stream.

Where does a call wait for its job, and what if its caller hangs up? `sync.py` (`unless_disconnected`).
What does a reader of a stream get while nothing happens? `event_stream.py` (`keep_alive`).
How is a job cancelled whose caller no longer waits? `sync.py` (`cancel_on_error`).
"""
