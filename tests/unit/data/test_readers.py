"""Processes that read images, and the memory that they share with the process that trains."""

import mmap
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest

from src.data import readers as readers_
from src.data.dataset import PreparedDataset
from src.data.readers import Crops, Readers, SharedMemory
from src.errors import CommandError
from tests.support import datasets

SIZE, COUNT = 16, 50
CROPS = Crops(12, np.full((COUNT, 2), 3), np.arange(COUNT) % 2 == 0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> PreparedDataset:
    return datasets.prepared("digits", SIZE, tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def records(prepared) -> bytes:
    return pickle.dumps(prepared.records("train"))


@pytest.fixture(scope="module")
def reader() -> Iterator[Readers]:
    one = Readers(1)
    yield one
    one.close()


def test_number_of_readers_changes_nothing(records, reader):
    three = Readers(3)
    for indices in np.arange(4 * COUNT).reshape(4, COUNT):
        pixels, labels = reader.read(records, indices, SIZE, CROPS)
        others, other_labels = three.read(records, indices, SIZE, CROPS)
        np.testing.assert_array_equal(pixels, others)
        np.testing.assert_array_equal(labels, other_labels)
    three.close()


@pytest.mark.parametrize(("value", "expected"), [("", 8), ("2", 4), ("9", 1)])
def test_processes_of_a_host_share_its_cores(monkeypatch, value, expected):
    monkeypatch.setenv("LOCAL_PROCESSES", value)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(readers_, "Readers", lambda count: count)
    assert readers_.readers.__wrapped__() == expected


def test_crops_and_mirror_images_are_of_the_whole_images(records, reader):
    whole, labels = reader.read(records, np.arange(COUNT), SIZE)
    crops, same_labels = reader.read(records, np.arange(COUNT), SIZE, CROPS)
    expected = whole[:, 3:15, 3:15]
    np.testing.assert_array_equal(crops[0::2], expected[0::2, :, ::-1])
    np.testing.assert_array_equal(crops[1::2], expected[1::2])
    np.testing.assert_array_equal(labels, same_labels)


def test_killed_reader_ends_the_run_in_one_line(records):
    two = Readers(2)
    for _ in range(2):  # they take turns
        two.read(records, np.arange(COUNT), SIZE)
    max(psutil.Process(two.helper.pid).children(), key=lambda reader: reader.pid).kill()
    two.read(records, np.arange(COUNT), SIZE)
    with pytest.raises(CommandError, match="a process that reads images was killed"):
        two.read(records, np.arange(COUNT), SIZE)
    two.close()


def test_signals_to_the_run_do_not_end_the_readers(records, reader):
    helper = psutil.Process(reader.helper.pid)
    for process in [helper, *helper.children()]:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            process.send_signal(number)
    _, labels = reader.read(records, np.arange(COUNT), SIZE)
    assert len(labels) == COUNT


def test_readers_end_with_a_killed_run(prepared):
    code = """
import os, pickle, signal, sys
import numpy as np
from pathlib import Path
from src.data.dataset import PreparedDataset
from src.data.readers import Readers
records = pickle.dumps(PreparedDataset(Path(sys.argv[1])).records("train"))
readers = Readers(2)
readers.read(records, np.arange(9), 16)
os.kill(os.getpid(), signal.SIGKILL)
"""
    # Returns only when no reader has stderr open any more.
    killed = subprocess.run(
        [sys.executable, "-c", code, prepared.directory],
        cwd=Path(__file__).parents[3],
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, b"")


def test_memory_is_used_again_only_after_the_end_of_all_arrays():
    memory = SharedMemory()
    first, array = memory.allocate((128, 3))
    array[:] = 7
    on_device = jax.device_put(array[:64])  # may share the memory
    view = array[64:]
    del array
    second, other = memory.allocate((128, 3))
    assert second != first
    other[:] = 9
    assert (np.asarray(on_device) == 7).all()
    assert (view == 7).all()
    del other
    assert memory.allocate((128, 3))[0] == second
    os.close(memory.file)


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Between the threads of this process."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("frequent_switches")
def test_memory_grows_in_many_threads_at_once():
    threads, arrays = 16, 100
    for _ in range(20):  # attempts to make two threads grow it at the same time
        memory, start = SharedMemory(), threading.Barrier(threads)
        kept = []

        def allocate(memory=memory, start=start, kept=kept):
            start.wait()
            kept.extend([memory.allocate((1,)) for _ in range(arrays)])

        with ThreadPoolExecutor(threads) as pool:
            for _ in range(threads):
                pool.submit(allocate)
        assert os.fstat(memory.file).st_size == threads * arrays * mmap.ALLOCATIONGRANULARITY
