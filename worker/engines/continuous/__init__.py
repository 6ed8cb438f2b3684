"""The engine with in-flight batching: rows join and leave between two steps.

What does one turn of the engine do? `loop.py` (`Loop`).
Which waiting answer is computed next? `scheduler.py` (`PrefillAdmission`).
How many rows and prompts does a step take? `token_budget.py` (`BatchCapacity`, `PassLimits`).
Which prompts share a step? `prefill_queue.py` (`chunks`).
Which answers fail when a step fails or memory runs out? `recovery.py` (`Recovery`).
"""
