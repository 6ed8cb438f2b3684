"""OpenAI's formats: chat completions, completions, responses, files, batches, errors."""
