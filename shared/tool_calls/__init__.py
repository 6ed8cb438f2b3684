"""Function calls: the forms in which models write them, and how they are read out of a text."""
