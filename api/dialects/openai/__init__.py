"""OpenAI's formats: chat completions, responses, files, batches, errors.

How does a chat become a request? `chat.py` (`from_chat`).
What reads its messages? `api/dialects/messages.py` (`to_messages`).
Which events has a response's stream? `response_events.py` (`ResponseEventWriter`).
What does an error look like? `errors.py` (`to_error`).
"""
