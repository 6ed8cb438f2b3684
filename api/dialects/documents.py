"""Parts that are documents: OpenAI's `file` and `input_file`, and `document`, which may name its pages."""

from api.dialects.media import document
from api.dialects.strict_json import Replayed, invalid
from shared.errors import CallerError
from shared.request import Document

DOCUMENT_PARTS: dict[str, tuple[str, ...]] = {
    "file": ("file",),
    "input_file": ("file_data", "file_url", "file_id"),
    "document": ("document", "url", "file_id"),
}
"""The fields that may hold a document, by the type of the part."""
BESIDE = ("filename", "pages")
"""Fields of these parts beside the document itself."""


class FileContent(Replayed):
    """The bytes decide what it is, not its name."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class DocumentFields(Replayed):
    """What a part has of a document, beside the fields that others have too; `pages` is like `1-3,7`."""

    file: FileContent | None = None
    file_data: str | None = None
    file_url: str | None = None
    document: str | None = None
    filename: str | None = None
    pages: str | None = None


def to_document(content: FileContent | str, name: str, at: str, pages: str | None) -> Document:
    """The document that a part's field `name` holds. Raises CallerError naming the field."""
    if isinstance(content, FileContent):
        return _of_file(content, at)
    if name == "file_id":
        return Document(file=content, param=at, pages=pages)
    part = document(content, at, bare_base64=name not in ("file_url", "url"))
    if name == "file_url" and part.url is None:
        raise CallerError("invalid_document", f"`{at}` should be an http(s) URL.", param=at)
    return part.model_copy(update={"pages": pages})


def _of_file(content: FileContent, at: str) -> Document:
    if content.file_data is not None and content.file_id is not None:
        raise invalid(at, "holds both file_data and file_id; send one of them")
    if content.file_id is not None:
        return Document(file=content.file_id, param=f"{at}.file_id")
    if content.file_data is None:
        raise invalid(f"{at}.file_data", "is required")
    return document(content.file_data, f"{at}.file_data", bare_base64=True)
