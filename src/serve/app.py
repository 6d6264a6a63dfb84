"""The HTTP interface: predictions, and the page."""

import asyncio
import contextlib
import dataclasses
import functools
import json
import os
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route
from starlette.types import Message

from ..data import images
from ..inference.classifier import Classifier
from .batcher import Batcher
from .explanation import TrainingImages, explain

Upload = tuple[dict[str, str], bytes]  # the "file", if it has a name; its content

TOP = 5  # classes of an answer
READERS = min(4, os.cpu_count() or 1)  # threads; each may hold an image of 179 million pixels
HOSTS = ["127.0.0.1", "localhost"]  # under a name of its own, any web page could read answers


@dataclasses.dataclass(frozen=True)
class Limits:
    """What requests may take."""

    body: int = 32 << 20  # bytes of a request
    bodies: int = 256 << 20  # bytes of all requests that are not answered yet
    images: int = 256  # that are not answered yet
    seconds: float = 60  # in which a request must be sent


class Service:
    """A network that answers requests.

    Args:
      classifier: the network.
      about: what the page says about the run; `warm_up` adds the sizes of what it shows.
      views: of each image.
      training: where to search similar images; None: nowhere.
      limits: what requests may take.
    """

    def __init__(
        self,
        classifier: Classifier,
        about: dict[str, Any],
        views: int | None = None,
        training: TrainingImages | None = None,
        limits: Limits = Limits(),
    ):
        self._classifier, self._about, self._limits = classifier, about, limits
        self._classify = functools.partial(classifier, views=views)
        self._explain = functools.partial(explain, classifier, training)
        self._batcher = Batcher(self._classify, classifier.max_batch)
        self._readers = ThreadPoolExecutor(READERS)
        self._images = self._bytes = 0  # of requests that are not answered yet

    def warm_up(self) -> None:
        """Compiles everything that requests need."""
        size, max_batch = self._classifier.config.data.size, self._classifier.max_batch
        black = np.zeros((max_batch, size, size, 3), np.uint8)
        for count in sorted({min(max_batch, 1 << n) for n in range(max_batch.bit_length() + 1)}):
            self._batcher.call(self._classify, black[:count]).result()
        explanation = self._batcher.call(self._explain, black[0]).result()
        layers = explanation["layers"]
        self._about["layers"] = [{**layer, "images": len(layer["images"])} for layer in layers]
        self._about["nearest"] = len(explanation["nearest"])
        self._about["top"] = min(TOP, len(self._classifier.class_names))

    def app(self) -> Starlette:
        """The application, for an ASGI server."""
        routes = [
            Route("/", self._page),
            Route("/health", self._health),
            Route("/predict", self._predict, methods=["POST"]),
        ]
        middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)]
        handlers: Any = {HTTPException: _describe}
        return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)

    async def _page(self, _: Request) -> HTMLResponse:
        page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
        about = json.dumps(self._about).replace("<", "\\u003c")
        return HTMLResponse(page.replace('"ABOUT"', about))

    async def _health(self, _: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "waiting": self._images, **self._about["run"]})

    async def _predict(self, request: Request) -> JSONResponse:
        explains = request.query_params.get("explain", "0") not in ("0", "false")
        top = request.query_params.get("top", str(TOP))
        origin = request.headers.get("origin")
        if origin and not origin.endswith(f"//{request.url.netloc}"):
            raise HTTPException(403, f"{origin}: other pages may not use this server")
        if not re.fullmatch("[1-9][0-9]{0,8}", top):
            raise HTTPException(400, f"top={top}: give a positive number")
        async with self._uploads(request) as uploads:
            waiting = (self._answer(upload, int(top), explains) for upload in uploads)
            answers = await asyncio.gather(*waiting)
        status = 400 if any("error" in answer for answer in answers) else 200
        answer = {"images": answers} if _is_form(request) else answers[0]
        return JSONResponse(answer, status_code=status)

    async def _answer(self, upload: Upload, top: int, explains: bool) -> dict[str, Any]:
        """The classes of an image, or the reason why `src.predict` could not read it either."""
        named, content = upload
        try:
            with self._batcher.expecting():
                reading = self._readers.submit(self._prepare, content)
                pixels = await asyncio.wrap_future(reading)
                result = self._batcher.submit(pixels)
        except images.UnreadableImage as error:
            return {**named, "error": str(error)}
        p = await asyncio.wrap_future(result)
        best = [(self._classifier.class_names[i], float(p[i])) for i in np.argsort(-p)[:top]]
        predictions = [{"class": name, "probability": share} for name, share in best]
        answer = {**named, "predictions": predictions}
        if explains:
            answer |= await asyncio.wrap_future(self._batcher.call(self._explain, pixels))
        return answer

    @contextlib.asynccontextmanager
    async def _uploads(self, request: Request) -> AsyncIterator[list[Upload]]:
        """The images of a request; they count as waiting until their answer is known."""
        limits, size, count = self._limits, 0, 0

        async def receive() -> Message:
            nonlocal size
            message = await request.receive()
            received = len(message.get("body", b""))
            size += received
            self._bytes += received
            if message["type"] == "http.disconnect":
                raise HTTPException(400, "the client has gone")
            if size > limits.body:
                bound = f"{limits.body / 2**20:.3g} MiB"
                raise HTTPException(413, f"the request is larger than {bound}; send smaller images")
            if self._bytes > limits.bodies:
                raise _busy()
            return message

        try:
            try:
                async with asyncio.timeout(limits.seconds):
                    uploads = await _read_uploads(Request(request.scope, receive), limits.images)
            except TimeoutError:
                reason = f"the request was not complete after {limits.seconds:g} s"
                raise HTTPException(408, reason, {"Connection": "close"}) from None
            if self._images + len(uploads) > limits.images:
                raise _busy()
            count = len(uploads)
            self._images += count
            yield uploads
        finally:
            self._bytes -= size
            self._images -= count

    def _prepare(self, content: bytes) -> np.ndarray:
        return images.decode(images.prepare(content, self._classifier.config.data.size))


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("multipart/form-data")


async def _read_uploads(request: Request, max_images: int) -> list[Upload]:
    if not _is_form(request):
        return [({}, await request.body())]
    async with request.form(max_files=max_images) as form:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        uploads = [({"file": file.filename or ""}, await file.read()) for file in files]
    if not uploads:
        raise HTTPException(400, "the form has no file")
    return uploads


def _busy() -> HTTPException:
    return HTTPException(503, "too many images wait; try again later", {"Retry-After": "1"})


async def _describe(_: Request, error: HTTPException) -> JSONResponse:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
