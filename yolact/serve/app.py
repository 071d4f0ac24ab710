"""The application: the page's files, the model's description, and instances for a picture."""

import asyncio
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from yolact.predictor import Predictor
from yolact.serve.answers import Finder, describe_model
from yolact.serve.guard import Guard
from yolact.serve.uploads import Limits, drain, read_body

SENTENCES = {404: "There is nothing at this address.", 405: "This address does not take requests of this kind."}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def create_app(
    predictor: Predictor, weights: Path, limits: Limits | None = None, hosts: Collection[str] | None = None
) -> Starlette:
    """Make the application around a model.

    Args:
        weights: the model's file; the page shows its name.
        hosts: names under which it may be addressed; None allows all.
    """
    limits = limits or Limits()
    description = describe_model(predictor, weights, limits)

    async def model(request: Request) -> Response:
        return JSONResponse(description)

    routes = [
        *_page_routes(),
        Route("/api/model", model),
        Route("/api/instances", _Pictures(Finder(predictor, limits), limits).answer, methods=["POST"]),
    ]
    guard = Middleware(Guard, hosts=hosts)
    return Starlette(routes=routes, middleware=[guard], exception_handlers={HTTPException: _refused})


def _page_routes() -> list[BaseRoute]:
    """Return a route for each file of the page. They are in memory: no path of a request meets the file system."""
    routes: list[BaseRoute] = []
    for file in (resources.files("yolact.serve") / "static").iterdir():
        content, media_type = file.read_bytes(), TYPES.get(Path(file.name).suffix)
        if media_type is None:
            continue

        async def page(request: Request, content: bytes = content, media_type: str = media_type) -> Response:
            return Response(content, media_type=media_type)

        routes.append(Route("/" if file.name == "index.html" else f"/{file.name}", page))
    return routes


class _Pictures:
    """Lets requests with pictures wait for their turn, and only so many; the model serves one at a time."""

    def __init__(self, find: Finder, limits: Limits) -> None:
        self.find = find
        self.limits = limits
        self.free = limits.max_requests
        self.turn = asyncio.Lock()
        # One thread of its own, because PyTorch keeps memory and handles for each thread that calls it.
        self.worker = ThreadPoolExecutor(1, "model")

    async def answer(self, request: Request) -> Response:
        """Answer a POST of a picture file as the body; `?picture` asks to send it back as well."""
        if not self.free:
            await drain(request, self.limits)
            busy = f"The model is busy with {self.limits.max_requests} requests; try again in a moment."
            raise HTTPException(503, busy, headers={"Retry-After": "1"})
        self.free -= 1
        try:
            return await self._answer(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        finally:
            self.free += 1

    async def _answer(self, request: Request) -> Response:
        data = await read_body(request, self.limits)
        async with self.turn:
            if await request.is_disconnected():
                raise ClientDisconnect
            loop = asyncio.get_running_loop()
            content = await loop.run_in_executor(self.worker, self.find, data, "picture" in request.query_params)
        return Response(content, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = SENTENCES.get(error.status_code, error.detail)
    return JSONResponse({"error": sentence}, error.status_code, headers=error.headers)
