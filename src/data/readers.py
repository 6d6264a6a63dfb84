"""Processes that read, decode, crop and mirror images, each with a Python lock of its own.

A helper process imports what reading needs and forks the readers. They end with the process that
started them, however it ends: their connections then close. See docs/architecture.md, "The loader".
"""

import atexit
import contextlib
import functools
import importlib
import mmap
import multiprocessing
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import defaultdict
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import cv2
import numpy as np

from ..errors import CommandError
from . import images
from .records import Records

SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
OPEN_SPLITS = 2  # that a reader keeps open: to train on, and to evaluate on


class Crops(NamedTuple):
    """Where to crop images, and which to mirror."""

    size: int  # height and width
    offsets: np.ndarray  # integer (N, 2): row and column of the corners
    flips: np.ndarray  # bool (N,)


class Request(NamedTuple):
    """What a reader is asked for."""

    records: bytes  # pickled Records
    indices: np.ndarray  # of the examples
    labels: np.ndarray  # of those that the cache has; -1 for the others
    size: int  # height and width of a prepared image
    position: int  # of the images in the shared memory
    crops: Crops
    cache: tuple[int, tuple[int, ...]] | None  # the position and the shape of the cache


class SharedMemory:
    """Memory that a process and its readers share. It grows as needed.

    /dev/shm would do, if containers did not limit it to 64 MB.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self.file = os.memfd_create("images")
        else:
            with tempfile.TemporaryFile() as file:
                self.file = os.dup(file.fileno())
        self._size = 0
        self._growing = threading.Lock()  # else one thread may cut off what another has added
        self._free: defaultdict[int, list[tuple[int, mmap.mmap]]] = defaultdict(list)

    def allocate(self, shape: tuple[int, ...]) -> tuple[int, np.ndarray]:
        """An array of uint8, and its position. The memory is used again after the array's end."""
        count = int(np.prod(shape))
        size = -(-count // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        free = self._free[size]
        try:
            position, memory = free.pop()
        except IndexError:
            with self._growing:
                position, self._size = self._size, self._size + size
                os.ftruncate(self.file, self._size)
            memory = mmap.mmap(self.file, size, offset=position)
        array = np.frombuffer(memory, np.uint8, count)
        # All that is made of this array without a copy keeps it alive, in TensorFlow and JAX too.
        weakref.finalize(array, free.append, (position, memory)).atexit = False
        return position, array.reshape(shape)


class Cache:
    """The decoded images of a split, in memory that the readers share."""

    def __init__(self, memory: SharedMemory, count: int, size: int):
        self.shape = (count, size, size, 3)
        self.position, self._pixels = memory.allocate(self.shape)
        # Only this process marks images as complete, after the reader's reply: the message
        # guarantees that its writes are visible.
        self.labels = np.full(count, -1, np.int32)  # -1: not decoded yet


class Readers:
    """The readers of this process: `count` processes, and the memory that they share with it."""

    def __init__(self, count: int):
        self.count, self.memory = count, SharedMemory()
        self._idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        pipes = [multiprocessing.Pipe() for _ in range(count)]
        files = [theirs.fileno() for _, theirs in pipes]
        program = (
            f"import sys; sys.path = {sys.path}; from {__name__} import run_readers; "
            f"run_readers({files}, {self.memory.file})"
        )
        # Readers inherit blocked signals: a signal to the whole group must stop only this process,
        # which may still need images.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self.helper = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[*files, self.memory.file],
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for ours, theirs in pipes:
            theirs.close()
            self._idle.put(ours)
        self._connections = [ours for ours, _ in pipes]

    def read(
        self,
        records: bytes,
        indices: np.ndarray,
        size: int,
        crops: Crops | None = None,
        cache: Cache | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lets a reader read some examples, and waits for them; may be called in threads.

        Args:
          records: pickled Records.
          indices: of the examples (N,).
          size: height and width of the prepared images; without `crops`, they are returned whole.
          cache: keeps the decoded images for the next time.

        Returns:
          The images, uint8 (N, size, size, 3), and the labels, int32 (N,).

        Raises:
          What reading raises; CommandError if the reader was killed.
        """
        count = len(indices)
        crops = crops or Crops(size, np.zeros((count, 2), int), np.zeros(count, bool))
        position, pixels = self.memory.allocate((count, crops.size, crops.size, 3))
        known = cache.labels[indices] if cache else np.full(count, -1)
        where = (cache.position, cache.shape) if cache else None
        request = Request(records, indices, known, size, position, crops, where)
        connection = self._idle.get()
        try:
            connection.send(request)
            labels = connection.recv()
        except (EOFError, OSError) as error:
            raise CommandError(
                "a process that reads images was killed, perhaps for lack of memory; run the "
                "command again"
            ) from error
        finally:
            self._idle.put(connection)
        if isinstance(labels, Exception):
            raise labels
        if cache:
            cache.labels[indices] = labels
        return pixels, labels

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self.helper.wait()


@functools.cache
def readers() -> Readers:
    """The readers of this process, one for each of its cores.

    The processes of a host share its cores, whether or not each is bound to its own.
    """
    share = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_PROCESSES") or 1)
    has_affinity = hasattr(os, "sched_getaffinity")  # only Linux has it
    return Readers(max(1, min(share, len(os.sched_getaffinity(0))) if has_affinity else share))


@atexit.register  # before the pipeline's, which therefore stops earlier
def _close() -> None:
    if readers.cache_info().currsize:
        readers().close()


def run_readers(files: Sequence[int], memory: int) -> None:
    """Forks a reader for each connection, and waits until all have ended."""
    importlib.import_module("array_record.python.array_record_data_source")  # once for all

    cv2.setNumThreads(1)
    for file in files:
        if not os.fork():
            for other in files:
                if other != file:
                    os.close(other)
            _serve(Connection(file), memory)
            os._exit(0)
    for file in files:
        os.close(file)
    for _ in files:
        os.wait()


def _serve(connection: Connection, file: int) -> None:
    load_records = functools.lru_cache(OPEN_SPLITS)(pickle.loads)

    @functools.cache
    def array(position: int, shape: tuple[int, ...]) -> np.ndarray:
        count = int(np.prod(shape))
        memory = mmap.mmap(file, count, offset=position)
        return np.frombuffer(memory, np.uint8, count).reshape(shape)

    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            request = connection.recv()
            try:
                size = request.crops.size
                out = array(request.position, (len(request.indices), size, size, 3))
                cache = array(*request.cache) if request.cache else None
                connection.send(_read(load_records(request.records), request, out, cache))
            except Exception as error:
                connection.send(error)


def _read(
    records: Records, request: Request, out: np.ndarray, cache: np.ndarray | None
) -> np.ndarray:
    """Decodes images, to the cache if there is one, and crops them to `out`; returns the labels."""
    size, offsets, flips = request.crops
    labels = request.labels.astype(np.int32)
    examples = records.examples(request.indices[labels < 0])
    buffer = np.empty((request.size, request.size, 3), np.uint8)
    for place, ((top, left), flip) in enumerate(zip(offsets, flips, strict=True)):
        whole = out[place] if size == len(buffer) and not flip else buffer
        if cache is not None:
            whole = cache[request.indices[place]]
        if labels[place] < 0:
            encoded, labels[place] = next(examples)
            images.decode(encoded, whole)
        crop = whole[top : top + size, left : left + size]
        if flip:
            cv2.flip(crop, 1, dst=out[place])  # ten times as fast as assigning crop[:, ::-1]
        else:
            out[place] = crop
    return labels
