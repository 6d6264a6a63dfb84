import re
import time

import pytest

from src.training.progress_bar import ProgressBar


def test_earlier_steps_do_not_count_for_the_speed() -> None:
    with ProgressBar(100, shown=True) as bar:
        bar.mininterval = 0  # as on a terminal
        bar.advance_to(90)
        time.sleep(0.2)
        for _ in range(2):
            bar.update()
        assert "92/100" in str(bar)
        (speed,) = re.findall(r"([\d.]+)step/s", str(bar))
    assert float(speed) < 2 / 0.2


def test_pauses_are_part_of_the_time_that_is_left() -> None:
    with ProgressBar(60, shown=True) as bar:
        bar.mininterval = 0
        time.sleep(0.5)
        for _ in range(30):
            bar.update()
        (speed,) = re.findall(r"([\d.]+)step/s", str(bar))
    assert float(speed) < 30 / 0.5


def test_next_run_does_not_show_values_of_the_previous_run() -> None:
    with ProgressBar(20, shown=True) as bar:
        bar.start_run("1/2 relu", 0)
        bar.update()
        bar.set_postfix({"loss": "1.234"})
        bar.start_run("2/2 tanh", 10)
        shown = str(bar)
    assert shown.startswith("2/2 tanh: ")
    assert "10/20" in shown
    assert "1.234" not in shown


def test_hidden_bar_takes_the_same_calls() -> None:
    with ProgressBar(100, shown=False) as bar:
        bar.start_run("1/2 relu", 90)
        bar.update()
        bar.advance_to(bar.total)


def test_start_of_a_run_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(20, shown=True) as bar:
        bar.start_run("2/2 tanh", 10)
        bar.advance_to(10)
        assert capsys.readouterr().err.count(" 10/20 ") == 1
