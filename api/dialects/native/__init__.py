"""Our own formats: jobs, webhooks, administration."""
