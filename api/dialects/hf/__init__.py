"""Hugging Face's raw route: the requests and answers of its tasks."""
