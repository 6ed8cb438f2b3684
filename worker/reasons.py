"""Reasons for failures as callers are told them; the log has them whole."""

import re
from pathlib import Path

# An address stays whole, but for a file's; quotation marks and commas end it, as they do in what is no prose.
URL = r"""(?P<url>\b(?![a-z0-9+.-]*\bfile:)[a-z][a-z0-9+.-]*://[^\s"'<>(),;]+)"""
# Where a path may begin, and where the name of a folder ends.
BEGIN = r"(?:(?<=file://)|(?<=file://localhost)|(?<![\w/.~#…-])(?!(?<=:)//))"
END = r"""(?=$|[\s/"'`,;:)\]}>]|\.(?!\w))"""
# An absolute path and its last part; one in quotation marks may have blanks.
PATH = (
    r"""(?<=["'])/+(?:[^/"'\n]+/+)+(?P<quoted>[^/"'\n]*)(?=["'])"""
    rf"""|{BEGIN}/+(?:[^\s/"']+/+)+(?P<bare>[^\s/"',;:)]*)"""
)


def without_folders(reason: str, source: str = "") -> str:
    """Callers are not told where this machine keeps its files.

    `source`, the model's own folder, is known, and hidden whatever its name; other names end at a blank.
    """
    folder = Path(source)
    known: list[str] = []
    if folder.is_absolute() or source.startswith((".", "~")):
        written = {source.rstrip("/"), str(folder), str(folder.resolve()), str(folder.expanduser().resolve())}
        # A name without its folder, as of "./model", may be any word of the reason.
        known = sorted((one for one in written if re.search(r"/[^/.~]", one)), key=len, reverse=True)
    own = rf"{BEGIN}(?:{'|'.join(map(re.escape, known))}){END}" if known else r"(?!)"
    name = folder.name or folder.resolve().name

    def told(found: re.Match[str]) -> str:
        return found["url"] or f"…/{name if found['own'] else found['quoted'] or found['bare'] or ''}"

    return re.sub(rf"{URL}|(?P<own>{own})|{PATH}", told, reason)
