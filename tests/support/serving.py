"""A server in this process, and requests to it."""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import uvicorn

from src.inference.classifier import Classifier
from src.serve.app import Limits, Service
from src.serve.explanation import TrainingImages


@contextlib.contextmanager
def serving(
    classifier: Classifier, *, training: TrainingImages | None = None, limits: Limits | None = None
) -> Iterator[int]:
    """The port of a server."""
    about = {"run": {"name": "tiny", "step": 1, "classes": 10}, "missing": "none"}
    service = Service(classifier, about, training=training, limits=limits or Limits())
    if training:  # for the page, which shows what the warm-up has seen
        service.warm_up()
    config = uvicorn.Config(service.app(), lifespan="off", ws="none", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def request(
    port: int,
    body: bytes | Iterable[bytes] | None = None,
    path: str = "/predict",
    headers: Mapping[str, str] = {},
) -> tuple[int, Any, http.client.HTTPMessage]:
    """The status, the JSON and the headers of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers


def form(files: Mapping[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a request with several files."""
    parts = [
        b'--edge\r\nContent-Disposition: form-data; name="image"; filename="%s"\r\n\r\n%s\r\n'
        % (name.encode(), content)
        for name, content in files.items()
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    return b"".join(parts) + b"--edge--\r\n", headers
