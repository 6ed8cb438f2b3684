"""Many streams through OpenAI's own client, beside an application that does nothing but send."""
