"""Reasons for failures as callers are told them; the log has them whole."""

import re
from pathlib import Path

# An absolute path and its last part; one in quotation marks may have blanks. Of URLs only a file's has one.
PATH = re.compile(
    r"""(?P<url>\b(?!file:)[a-z][a-z0-9+.-]*://\S+)"""
    r"""|(?<=["'])/+(?:[^/"'\n]+/+)+(?P<quoted>[^/"'\n]*)(?=["'])"""
    r"""|(?:(?<=file://)|(?<=file://localhost)|(?<![\w/.~#…-])(?!(?<=:)//))"""
    r"""/+(?:[^\s/"']+/+)+(?P<bare>[^\s/"',;:)]*)"""
)


def without_folders(reason: str, source: str = "") -> str:
    """Callers are not told where this machine keeps its files.

    `source`, the model's own folder, is known, and hidden whatever its name; other names end at a blank.
    """
    folder = Path(source)
    if folder.is_absolute() or source.startswith(("./", "../", "~")):
        for written in sorted({source, str(folder), str(folder.resolve())}, key=len, reverse=True):
            reason = reason.replace(written, f"…/{folder.name}")
    return PATH.sub(lambda found: found["url"] or f"…/{found['quoted'] or found['bare'] or ''}", reason)
