"""Results computed in threads, ahead of their use."""

import itertools
import threading

import pytest

from src.data.parallel import compute_ahead


def test_results_come_in_the_order_of_the_inputs():
    later = threading.Event()

    def function(i: int) -> int:
        if i == 0:
            assert later.wait(60)  # the second result is complete before the first
        later.set()
        return i * i

    assert list(compute_ahead(function, range(20), ahead=2)) == [i * i for i in range(20)]


def test_endless_inputs_are_read_only_so_far_ahead():
    counter = itertools.count()
    results = compute_ahead(lambda i: i, counter, ahead=5)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()
    assert next(counter) == 7


def test_exception_is_raised_at_its_input():
    results = compute_ahead(lambda i: 1 // (2 - i), range(5), ahead=5)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
