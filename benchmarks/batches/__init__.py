"""A batch of the promised size, while people ask and processes die."""
