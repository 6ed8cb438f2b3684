"""Routes of the web pages for people: a few files without a build step, and the API's description."""

import gzip
import mimetypes
import re
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

FOLDER = Path(__file__).parents[1] / "page"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
}
HEADERS = {
    # Markup smuggled into an answer still cannot make the page run or call anything.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
    "vary": "accept-encoding",
}

TAKES_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)

SWAGGER = files("fastapi_swagger.resources")
SWAGGER_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")

router = APIRouter(include_in_schema=False)
_FILES = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}
_COMPRESSED = {
    name: gzip.compress(content, mtime=0) for name, content in _FILES.items() if Path(name).suffix in TYPES
}


@router.get("/")
async def page(request: Request) -> Response:
    return _file(request, "index.html")


@router.get("/page/{name}")
async def page_file(request: Request, name: str) -> Response:
    return _file(request, name)


@router.get("/docs")
async def docs(request: Request) -> Response:
    return _file(request, "docs.html")


@router.get("/docs/{name}")
async def docs_file(request: Request, name: str) -> Response:  # noqa: ARG001
    """Not kept in memory: megabytes that few ever ask for."""
    if name not in SWAGGER_FILES:
        raise HTTPException(404)
    return FileResponse(str(SWAGGER / name), headers=HEADERS, media_type=TYPES[Path(name).suffix])


def _file(request: Request, name: str) -> Response:
    if name not in _FILES:
        raise HTTPException(404)
    kind = TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0]
    if name in _COMPRESSED and TAKES_GZIP.search(request.headers.get("accept-encoding", "")):
        return Response(_COMPRESSED[name], headers=HEADERS | {"content-encoding": "gzip"}, media_type=kind)
    return Response(_FILES[name], headers=HEADERS, media_type=kind)
