"""Delivers webhooks: signed, guarded, retried with a growing delay.

In: due deliveries of the record store. Out: HTTP calls, and their outcome in the record.
"""
