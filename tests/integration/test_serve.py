"""Predictions over HTTP, from many clients, with images of all kinds."""

import json
import random
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.inference.classifier import Classifier, load
from src.serve.app import READERS, Limits
from tests.support.commands import run, start
from tests.support.image_content import encoded
from tests.support.serving import form, request, serving

RANDOM = np.random.default_rng(0)
CLIENTS = 64
FLAGS = ("--port=0", "--nonearest")


def photograph(height: int, width: int) -> Image.Image:
    return Image.fromarray(RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8))


JPEG, PNG = encoded(photograph(300, 200), "JPEG"), encoded(photograph(40, 60))
GIF = encoded(Image.new("P", (4, 4)), "GIF")
GOOD = {
    "photo.jpg": JPEG,
    "small.png": PNG,
    "dot.png": encoded(photograph(1, 1)),
    "wide.png": encoded(photograph(1, 3000)),
    "clear.png": encoded(photograph(9, 9).convert("RGBA")),
    "gray.tiff": encoded(
        Image.fromarray(np.arange(2**16, dtype=np.uint16).reshape(256, 256)), "TIFF"
    ),
    "damaged-exif.jpg": encoded(
        photograph(16, 16), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\0br"
    ),
}
HOSTILE = {
    "empty": b"",
    "text": b"classes,labels\n1,2\n",
    "half.jpg": JPEG[: len(JPEG) // 2],
    "half.png": PNG[: len(PNG) // 2],
    "header.jpg": JPEG[:10],
    "broken.png": PNG[:50] + bytes(100) + PNG[150:],
    "bomb.gif": GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:],
    "12-bits.png": encoded(Image.fromarray(np.full((4, 4), 4095, np.uint16))),
    "float.tiff": encoded(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"),
}


@pytest.fixture(scope="module")
def classifier(digits_run: Path) -> Classifier:
    return load(digits_run)


@pytest.fixture(scope="module")
def port(classifier: Classifier) -> Iterator[int]:
    with serving(classifier) as port:
        yield port


def assert_answers(answer: dict[str, Any], content: bytes, classifier: Classifier) -> None:
    """The classes and the probabilities of `predict`, or its reason."""
    (expected,) = classifier.predict_files([content])
    if expected.output is None:
        assert answer["error"] == expected.error
        return
    best = np.argsort(-expected.output)[:5]
    assert [p["class"] for p in answer["predictions"]] == [classifier.class_names[i] for i in best]
    probabilities = [p["probability"] for p in answer["predictions"]]
    np.testing.assert_allclose(probabilities, expected.output[best], rtol=1e-5)


@pytest.mark.parametrize("name", [*GOOD, *HOSTILE])
def test_answers_are_those_of_predict(name: str, port: int, classifier: Classifier) -> None:
    content = {**GOOD, **HOSTILE}[name]
    status, answer, _ = request(port, content)
    assert status == (200 if name in GOOD else 400)
    assert_answers(answer, content, classifier)


def test_several_images_are_answered_in_their_order(port: int, classifier: Classifier) -> None:
    status, answer, _ = request(port, *_form_arguments(GOOD))
    assert status == 200
    assert [image["file"] for image in answer["images"]] == [*GOOD]
    for image in answer["images"]:
        assert_answers(image, GOOD[image["file"]], classifier)
    mixed = {"good.png": PNG, "bad.txt": b"text"}
    status, answer, _ = request(port, *_form_arguments(mixed))
    assert status == 400
    assert [image["file"] for image in answer["images"]] == [*mixed]
    assert "predictions" in answer["images"][0]
    assert answer["images"][1]["error"] == "not an image of a known format"


def _form_arguments(files: dict[str, bytes]) -> tuple[bytes, str, dict[str, str]]:
    body, headers = form(files)
    return body, "/predict", headers


def test_all_of_64_clients_are_answered(port: int, classifier: Classifier) -> None:
    everything = [*GOOD.items(), *HOSTILE.items()]
    together = threading.Barrier(CLIENTS)

    def client(number: int) -> list[tuple[str, int, Any]]:
        order = random.Random(number).sample(everything, len(everything))
        together.wait(60)
        return [(name, *request(port, content)[:2]) for name, content in order]

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [answer for answered in pool.map(client, range(CLIENTS)) for answer in answered]
    assert len(answers) == CLIENTS * len(everything)
    first = {name: answer for name, _, answer in answers[: len(everything)]}
    for name, content in everything:
        assert_answers(first[name], content, classifier)
    for name, status, answer in answers:
        assert status == (200 if name in GOOD else 400)
        assert answer.get("error") == first[name].get("error")
        for mine, others in zip(
            answer.get("predictions", []), first[name].get("predictions", []), strict=True
        ):
            assert mine["class"] == others["class"]
            assert mine["probability"] == pytest.approx(others["probability"], rel=1e-4)
    assert request(port, path="/health")[1]["waiting"] == 0


class Held(Classifier):
    """A classifier that waits until it is released."""

    def __init__(self, classifier: Classifier):
        self.__dict__.update(classifier.__dict__)
        self.released = threading.Event()

    def __call__(self, images: np.ndarray, views: int | None = None) -> np.ndarray:
        assert self.released.wait(60)
        return super().__call__(images, views)


def test_a_full_queue_is_503_and_those_who_wait_are_answered(classifier: Classifier) -> None:
    held = Held(classifier)
    with serving(held, limits=Limits(images=3)) as port, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(request, port, content) for content in (PNG, JPEG)]
        while request(port, path="/health")[1]["waiting"] < 2:
            pass
        status, answer, headers = request(port, *_form_arguments({"a": PNG, "b": PNG}))
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "too many images wait" in answer["error"]
        held.released.set()
        assert [future.result(60)[0] for future in waiting] == [200, 200]
        assert request(port, *_form_arguments({"a": PNG, "b": PNG}))[0] == 200
        assert request(port, *_form_arguments(dict.fromkeys("abcd", PNG)))[0] == 400
        assert request(port, path="/health")[1]["waiting"] == 0


def test_bodies_are_bounded(classifier: Classifier) -> None:
    body = len(PNG)
    with serving(classifier, limits=Limits(body=body, bodies=body)) as port:
        for larger in (PNG + b"\0", iter([PNG, PNG]), b"\0" * 10_000_000):  # whole, and in chunks
            status, answer, _ = request(port, larger)
            assert status == 413
            assert "larger than" in answer["error"]
        assert request(port, PNG)[0] == 200  # nothing is counted twice or for ever
    with serving(classifier, limits=Limits(bodies=body)) as port:
        assert request(port, JPEG)[0] == 503
        assert request(port, PNG)[0] == 200


def test_a_request_that_is_never_complete_is_408(classifier: Classifier) -> None:
    with (
        serving(classifier, limits=Limits(seconds=0.1)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=60) as client,
    ):
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1")
        with client.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")  # to the end of the connection
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body) == {"error": "the request was not complete after 0.1 s"}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "reason"),
    [
        ("/predict?top=0", PNG, {}, 400, "top=0: give a positive number"),
        ("/predict", b"--edge--\r\n", form({})[1], 400, "the form has no file"),
        ("/predict", PNG, {"Content-Type": "multipart/form-data"}, 400, "boundary"),
        ("/nothing", PNG, {}, 404, "Not Found"),
        ("/predict", None, {}, 405, "Method Not Allowed"),
    ],
)
def test_wrong_requests_have_a_reason(port: int, path, body, headers, status, reason) -> None:
    answered, answer, _ = request(port, body, path, headers)
    assert answered == status
    assert reason in answer["error"]


def test_more_classes_can_be_asked_for(port: int, classifier: Classifier) -> None:
    _, answer, _ = request(port, PNG, "/predict?top=100")
    assert {p["class"] for p in answer["predictions"]} == {*classifier.class_names}
    assert sum(p["probability"] for p in answer["predictions"]) == pytest.approx(1)


def read_port(server: subprocess.Popen[str]) -> int:
    assert server.stdout is not None
    line = server.stdout.readline()
    return int(re.match(r"ready: http://127\.0\.0\.1:(\d+) ", line)[1])


def end(server: subprocess.Popen[str], number: signal.Signals) -> None:
    """Ends a server, which must say nothing."""
    server.send_signal(number)
    out, errors = server.communicate(timeout=60)
    assert (server.returncode, out, errors) == (128 + number, "", "")


def test_the_command_answers_as_predict_prints(
    digits_run: Path, cache: Path, tmp_path: Path
) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    done = run("src.predict", f"--workdir={digits_run}", "--json", path, cache=cache)
    expected = json.loads(done.stdout)["predictions"]
    with start("src.serve", f"--workdir={digits_run}", *FLAGS, cache=cache) as server:
        port = read_port(server)
        _, answer, _ = request(port, PNG)
        status, health, _ = request(port, path="/health")
        end(server, signal.SIGTERM)
    for one, other in zip(answer["predictions"], expected, strict=True):
        assert one["class"] == other["class"]
        assert one["probability"] == pytest.approx(other["probability"], rel=1e-6)
    assert (status, health["status"], health["step"]) == (200, "ok", 24)


def peak_memory(pid: int) -> int:
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) << 10


def test_memory_is_bounded(digits_run: Path, cache: Path) -> None:
    large = encoded(Image.new("L", (8000, 8000)))  # 64 million pixels in 62 kB
    contents = [large] * 12 + [*GOOD.values(), *HOSTILE.values()] * 16
    with start("src.serve", f"--workdir={digits_run}", *FLAGS, cache=cache) as server:
        port = read_port(server)
        before = peak_memory(server.pid)
        with ThreadPoolExecutor(CLIENTS) as pool:
            statuses = [answer[0] for answer in pool.map(lambda c: request(port, c), contents)]
        grown = peak_memory(server.pid) - before
        end(server, signal.SIGINT)
    assert statuses == [200] * 12 + ([200] * len(GOOD) + [400] * len(HOSTILE)) * 16
    assert grown < READERS * 64_000_000 * 12  # bytes a pixel


def test_mistakes_are_told_in_one_line(digits_run: Path, cache: Path, tmp_path: Path) -> None:
    done = run("src.serve", f"--workdir={tmp_path / 'nowhere'}", "--port=0", cache=cache)
    assert done.returncode == 2
    assert re.fullmatch(r"error: workdir \S+nowhere: it has no config.json, .*\n", done.stderr)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("src.serve", f"--workdir={digits_run}", f"--port={port}", cache=cache)
    assert done.returncode == 2
    line = f"error: --port={port}: Address already in use; give another, or 0 for any free one\n"
    assert done.stderr == line


def test_pages_of_other_servers_may_not_use_this_one(classifier: Classifier) -> None:
    with serving(classifier) as port:
        own = {"Origin": f"http://127.0.0.1:{port}"}
        assert request(port, JPEG, headers=own)[0] == 200
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}):
            status, answer, _ = request(port, JPEG, headers=headers)
            assert (status, "may not use" in answer["error"]) == (403, True)
        assert request(port, JPEG, path=f"/predict?top={'9' * 5000}")[0] == 400


def test_only_requests_that_ask_for_it_are_explained(port: int) -> None:
    for query, is_explained in {"explain=1": True, "explain": True, "explain=0": False}.items():
        _, answer, _ = request(port, PNG, f"/predict?{query}")
        assert ("layers" in answer) == is_explained
