"""The engine that runs vLLM, with our prompts, formats and queue."""
