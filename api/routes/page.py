"""Routes of the web page for people: a few files without a build step, served from memory."""

import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from api.server.route import ServiceRoute

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
}

router = APIRouter(route_class=ServiceRoute, include_in_schema=False)
_FILES = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}


@router.get("/")
async def page(request: Request) -> Response:  # noqa: ARG001
    return _file("index.html")


@router.get("/page/{name}")
async def page_file(request: Request, name: str) -> Response:  # noqa: ARG001
    return _file(name)


def _file(name: str) -> Response:
    if name not in _FILES:
        raise HTTPException(404)
    kind = TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0]
    return Response(_FILES[name], headers=HEADERS, media_type=kind)
