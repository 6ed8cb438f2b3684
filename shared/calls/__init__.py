"""Calls of functions: in which form models write them, and how they are read out of a text."""
