"""The courier's passes over the record store: rescue, deadlines, consistency, deleted blobs.

Which courier runs them? `leader.py` (`MaintenanceLeader`).
What is repaired, and in what order? `passes.py` (`passes`).
When are bytes deleted that no record needs? `passes.py` (`BlobCollector`).
"""
