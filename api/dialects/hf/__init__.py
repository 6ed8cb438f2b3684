"""Hugging Face's raw route: the requests and answers of its tasks.

Which bodies does POST /models/{id} take? `task_requests.py` (`from_bytes`).
What does each task answer? `task_answers.py` (`to_answer`).
Which client gets an object and not a list? `task_answers.py` (`takes_object`).
"""
