"""Delivers webhooks: signed, guarded, retried with a growing delay.

When is a failed call made again, and when given up? `deliverer.py` (`_delay_s`).
What does a call send? `post.py` (`post`).
How is it signed? `shared/webhooks.py` (`signature`).
"""
