"""`sightline doctor`: checks of an installation, before it runs and while it runs.

What is checked, and in what order? `diagnosis.py` (`examine`).
May the record store be relied on? `records.py` (`checks`).
Would a model load here? `dry_load.py` (`refusals`).
"""
