"""Writes the pages that describe code or measurements from these: `python -m docs.generate`."""

from docs.generate.pages import pages

for path, text in pages().items():
    path.write_text(text, encoding="utf-8")
