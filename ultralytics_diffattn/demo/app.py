# Ultralytics DiffAttn - AGPL-3.0 License
"""The server of the page: what it answers, and whom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ultralytics_diffattn.demo.detectors import Detector, Pair, from_upload
from ultralytics_diffattn.demo.images import decode, example
from ultralytics_diffattn.demo.kept import GoneError, Kept
from ultralytics_diffattn.demo.views import View, describe, open_view, panels, parse_look, picture
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.output import html

PAGE = Path(__file__).parent / "page"
MB = 1_000_000
LIMITS = {"image": 64 * MB, "model": 256 * MB, "look": MB}  # bytes of a request
VIEWS, PAIRS = 32, 6  # kept for all users together: an image takes up to 20 MB, a pair as much as its models
HEADERS = {  # the page loads nothing from elsewhere, and the browser would not let it
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data: blob:; media-src blob:; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class TooLargeError(UserError):
    """A file beyond the limit."""


def build(start: Pair, hosts: list[str]) -> Starlette:
    """Return the application.

    Args:
        start (Pair): The models that every user begins with.
        hosts (list[str]): Names under which it may be asked, against pages elsewhere that rebind a name; "*" for any.

    Returns:
        (starlette.applications.Starlette): For any ASGI server; its `state.views` holds what is kept.
    """
    views: Kept[View] = Kept(VIEWS)
    pairs: Kept[Pair] = Kept(PAIRS)

    def pair_of(request: Request) -> Pair:
        name = request.query_params.get("models")
        return pairs.get(name) if name else start

    async def show_example(request: Request) -> Response:
        await body(request, 0)
        number = request.query_params.get("number", "0")
        image = example(int(number) if number.isdecimal() and len(number) < 9 else 0)
        return await show(request, image, f"example-{number}.png")

    async def show_image(request: Request) -> Response:
        data, name = await body(request, LIMITS["image"]), file_name(request)
        return await show(request, await run_in_threadpool(decode, data, name), name)

    async def show(request: Request, image: Any, name: str) -> Response:
        pair, frame = pair_of(request), "frame" in request.query_params
        view = await run_in_threadpool(open_view, pair, image, name)
        kept = views.add(view, instead_of=request.query_params.get("instead_of", ""))
        return JSONResponse({"view": kept, **await run_in_threadpool(describe, view, not frame), **names(pair)})

    async def look(request: Request) -> Response:
        view, asked = await looked_at(request)
        return JSONResponse(await run_in_threadpool(panels, view, parse_look(view, asked)))

    async def download(request: Request) -> Response:
        view, asked = await looked_at(request)
        png = await run_in_threadpool(picture, view, parse_look(view, asked))
        return Response(png, media_type="image/png")

    async def looked_at(request: Request) -> tuple[View, Any]:
        asked = as_json(await body(request, LIMITS["look"]))
        return views.get(str(asked.get("view"))), asked

    async def upload(request: Request) -> Response:
        data, name = await body(request, LIMITS["model"]), file_name(request)
        new, old = await run_in_threadpool(from_upload, data, name), pair_of(request)
        pair = replaced(old, new, request.query_params.get("role", "model"))
        return JSONResponse({"models": pairs.add(pair), **names(pair)})

    routes = [Route("/", index), Route("/page.css", style), *map(script, sorted(PAGE.glob("*.js")))]
    for name, answer in {
        "example": show_example,
        "image": show_image,
        "look": look,
        "picture": download,
        "model": upload,
    }.items():
        routes.append(Route(f"/api/{name}", answer, methods=["POST"]))
    errors: dict[Any, Any] = {UserError: refuse, GoneError: gone, ClientDisconnect: left}
    app = Starlette(
        routes=routes,
        exception_handlers=errors,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)],
    )
    app.state.views, app.state.pairs, app.state.public = views, pairs, "*" in hosts
    return app


def replaced(old: Pair, new: Detector, role: str) -> Pair:
    """Return a pair with an uploaded model in it.

    Args:
        old (Pair): What the user saw until now.
        new (Detector): From `from_upload`.
        role (str): "model" or "baseline".

    Returns:
        (Pair): A new model keeps the baseline only if that knows the same classes.

    Raises:
        UserError: If there is no such role.
    """
    if role == "baseline":
        return Pair(old.model, new)
    if role != "model":
        raise UserError(f"role={role} must be model or baseline.")
    alike = old.baseline is not None and old.baseline.yolo.names == new.yolo.names
    return Pair(new, old.baseline if alike else None)


def names(pair: Pair) -> dict[str, Any]:
    """Return what the page says of the models."""
    baseline = None if pair.baseline is None else pair.baseline.name
    return {"model": pair.model.name, "baseline": baseline, "differential": bool(pair.model.differential)}


async def body(request: Request, limit: int) -> bytes:
    """Return the bytes of a request of our own page, or raise: another site's, or too many."""
    origin = request.headers.get("origin")
    elsewhere = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if elsewhere and not request.app.state.public:  # a proxy may give a public server another name
        raise UserError(f"a page of {origin} may not ask this server.")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise TooLargeError(f"{file_name(request)} is too large: {limit // MB} MB are allowed.")
    return bytes(data)


def as_json(data: bytes) -> dict[str, Any]:
    """Return a request's JSON object, or raise."""
    try:
        asked = json.loads(data)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise UserError("the request is no JSON object.")
    return asked


def file_name(request: Request) -> str:
    """Return the name of the file that a request brings."""
    return Path(request.query_params.get("name", "")).name[:120] or "the file"


def index(request: Request) -> Response:
    """Return the page."""
    return FileResponse(PAGE / "index.html", headers=HEADERS)


def style(request: Request) -> Response:
    """Return the style: that of all our pages, and this one's."""
    files = Path(html.__file__).with_name("page.css"), PAGE / "page.css"
    return Response("\n".join(f.read_text(encoding="utf-8") for f in files), media_type="text/css", headers=HEADERS)


def script(file: Path) -> Route:
    """Return the route of a script."""
    return Route(f"/{file.name}", lambda request: FileResponse(file, media_type="text/javascript", headers=HEADERS))


def refuse(request: Request, error: Exception) -> Response:
    """Return what the user can mend."""
    return JSONResponse({"error": str(error)}, 413 if isinstance(error, TooLargeError) else 400)


def gone(request: Request, error: Exception) -> Response:
    """Return that the server has dropped what is asked for: the page sends it again."""
    return JSONResponse({"error": "this image or model is not kept any more: choose it again."}, 410)


def left(request: Request, error: Exception) -> Response:
    """Return nothing: whoever asked has closed the page."""
    return Response(status_code=499)
