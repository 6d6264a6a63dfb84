"""Images that arrive one by one are computed in batches."""

import threading
from collections.abc import Callable
from concurrent.futures import wait

import numpy as np
import pytest

from src.serve import batcher
from src.serve.batcher import Batcher


def image(value: int) -> np.ndarray:
    return np.full((2, 2), value)


@pytest.fixture
def held() -> tuple[Batcher, list[list[int]], Callable[[], None]]:
    """A batcher whose thread waits, the batches that it computes, and what releases it."""
    batches: list[list[int]] = []
    released = threading.Event()

    def compute(images: np.ndarray) -> np.ndarray:
        batches.append(images[:, 0, 0].tolist())
        assert images.min() >= 0, "negative"
        return images.sum(axis=(1, 2))

    batcher = Batcher(compute, max_batch=4)
    batcher.call(released.wait, 60)
    return batcher, batches, released.set


def test_waiting_images_become_batches_in_their_order(held) -> None:
    batcher, batches, release = held
    futures = [batcher.submit(image(value)) for value in range(6)]
    after = batcher.call(lambda: [*batches])
    release()
    assert [future.result(60) for future in futures] == [0, 4, 8, 12, 16, 20]
    assert batches == [[0, 1, 2, 3], [4, 5]]
    assert after.result(60) == batches


def test_an_error_concerns_its_batch_alone(held) -> None:
    batcher, _, release = held
    futures = [batcher.submit(image(value)) for value in (-1, 0, 0, 0, 5)]
    release()
    for future in futures[:4]:
        with pytest.raises(AssertionError, match="negative"):
            future.result(60)
    assert futures[4].result(60) == 20


def test_cancelled_images_are_left_out(held) -> None:
    batcher, batches, release = held
    futures = [batcher.submit(image(value)) for value in range(3)]
    assert futures[1].cancel()
    release()
    assert futures[2].result(60) == 8
    assert batches == [[0, 2]]


def test_a_batch_waits_for_an_image_that_is_being_read(held, monkeypatch) -> None:
    monkeypatch.setattr(batcher, "MAX_WAIT", 60)
    waiting, batches, release = held
    with waiting.expecting():
        first = waiting.submit(image(1))
        release()
        assert not wait([first], 0.2).done
        second = waiting.submit(image(2))
    assert [first.result(60), second.result(60)] == [4, 8]
    assert batches == [[1, 2]]
    with pytest.raises(ValueError, match="unreadable"), waiting.expecting():
        raise ValueError("unreadable")
    assert waiting.submit(image(3)).result(60) == 12  # no image is expected any more


def test_a_batch_does_not_wait_long_nor_when_it_is_full(held, monkeypatch) -> None:
    waiting, _, release = held
    release()
    with waiting.expecting():
        assert waiting.submit(image(1)).result(60) == 4
        monkeypatch.setattr(batcher, "MAX_WAIT", 3600)
        futures = []
        for value in range(4):
            with waiting.expecting():
                futures.append(waiting.submit(image(value)))
        assert [future.result(60) for future in futures] == [0, 4, 8, 12]
