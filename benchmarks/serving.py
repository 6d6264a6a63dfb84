"""Speed of `src.serve` with many clients at once, compared with the network alone.

    python -m benchmarks.serving --workdir=DIR --images=DIRECTORY [--clients=64]

It takes about a minute. Each client sends one image, waits for the answer, and sends the next. The
clients run on the same cores as the server. The network alone gets images in memory, 64 at a time.
"""

import argparse
import http.client
import itertools
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import worker
from src.data.image_files import find_images
from src.distributed.devices import avoid_compiler_plugin, choose_cpu_devices, keep_memory
from src.inference.classifier import load

ROUNDS = 3


def main() -> dict[str, Any]:
    """Measures both, one after the other, in several rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=1024)
    flags = parser.parse_args()
    files = [Path(image.name).read_bytes() for image in find_images([str(flags.images)])[:512]]
    bodies = list(itertools.islice(itertools.cycle(files), flags.requests))

    avoid_compiler_plugin()  # as commands do
    keep_memory()
    choose_cpu_devices(None, os.environ)
    classifier = load(flags.workdir)
    size = classifier.config.data.size
    images = np.zeros((flags.requests, size, size, 3), np.uint8)
    classifier(images[: classifier.max_batch])  # compiles
    command = [sys.executable, "-m", "src.serve", f"--workdir={flags.workdir}", "--port=0"]
    command.append("--nonearest")
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().split("127.0.0.1:")[1].split()[0])
            ready = time.perf_counter() - started
            alone, served = [], []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                classifier(images)
                alone.append(len(images) / (time.perf_counter() - started))
                started = time.perf_counter()
                send(port, bodies, flags.clients)
                served.append(len(bodies) / (time.perf_counter() - started))
            memory = psutil.Process(server.pid).memory_info().rss
        finally:
            server.terminate()
    return {
        "alone_per_second": alone,
        "served_per_second": served,
        "ratio": statistics.median(s / a for s, a in zip(served, alone, strict=True)),
        "ready_seconds": ready,
        "server_bytes": memory,
    }


def send(port: int, bodies: list[bytes], clients: int) -> None:
    """Sends all bodies, each from whichever client is free; every answer must be a prediction."""

    def client(remaining: itertools.chain[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for body in remaining:
            connection.request("POST", "/predict", body)
            response = connection.getresponse()
            content = response.read()
            assert response.status == 200, content
        connection.close()

    remaining = itertools.chain(bodies)  # its items are taken under Python's lock
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, [remaining] * clients))


if __name__ == "__main__":
    worker.report(main)
