"""Our own formats: jobs, webhooks, administration.

How does a body become a job? `job_requests.py` (`from_job`).
What does a job show its caller? `jobs.py` (`to_job`).
Which words has a model's state? `models.py` (`ModelState`).
"""
