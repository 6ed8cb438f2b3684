"""Proof at load that a model computes the same for a row in a batch as alone.

What is tried, and what does it allow? `batching.py` (`verify`).
With which questions? `cases.py` (`PLAN`).
How far may logits differ? `cases.py` (`LogitsComparison`).
"""
