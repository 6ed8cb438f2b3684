"""Function calls: the forms in which models write them, and how they are read out of a text.

Which form does a model write? `syntax.py` (`syntax_of`).
How are calls told from words while the text still grows? `parser.py` (`CallReader`).
Where do thoughts leave an answer? `thoughts.py` (`ThoughtReader`).
"""
