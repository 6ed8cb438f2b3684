"""The engine with in-flight batching: rows join and leave between two steps.

What does one turn of the engine do? `loop.py` (`Loop`).
Which waiting answer is computed next, and how much of its prompt? `scheduler.py` (`WaitingQueue`, `Pace`).
Where do rows lie in memory? `kv_cache.py` (`BatchCache`).
What does a step compute, and when is it a graph? `runner.py` (`Runner`).
What do later requests reuse? `reuse_cache.py` (`ReuseCache`).
What is tried at load, and what does it allow? `verify.py` (`verify`).
"""
