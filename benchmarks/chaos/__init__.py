"""What is lost when processes die: `make chaos`."""
