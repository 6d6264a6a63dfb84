import re
import time

import pytest

from src.training.progress_bar import ProgressBar


def speed(bar: ProgressBar) -> float:
    shown = bar.format_meter(**(bar.format_dict | {"bar_format": "{rate_fmt}"}))
    return float(re.findall(r"([\d.]+)it/s", shown)[0])


def test_earlier_steps_do_not_count_for_the_speed() -> None:
    with ProgressBar(100, shown=True) as bar:
        bar.mininterval = 0  # as on a terminal
        bar.advance_to(90)
        time.sleep(0.2)
        for _ in range(2):
            bar.update()
        assert "92/100" in str(bar)
        assert speed(bar) < 2 / 0.2


def test_pauses_are_part_of_the_time_that_is_left() -> None:
    with ProgressBar(60, shown=True) as bar:
        bar.mininterval = 0
        time.sleep(0.5)
        for _ in range(30):
            bar.update()
        assert speed(bar) < 30 / 0.5


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


def test_updates_and_lines_in_a_file_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(4, shown=True) as bar:
        bar.tell("network")
        bar.mininterval = 0
        bar.set_postfix({"loss": "1.234"}, refresh=False)
        bar.update(3)
        bar.tell("epoch 1")
    first, *_, update, told, last = filter(None, capsys.readouterr().err.splitlines())
    assert (first, told) == ("network", "epoch 1")
    for line in (update, last):  # the last state is shown at the end
        assert re.search(r"^ 75%\|.*\| 3/4 \[00:00<00:00, loss=1.234\]$", line)


@pytest.mark.parametrize("last", [{"images/s": "12345"}, {"data wait": "35%"}])
def test_bar_on_80_columns_shows_all_numbers(last: dict[str, str]) -> None:
    with ProgressBar(57_000, shown=True) as bar:
        bar.update(12_345)
        bar.set_postfix({"loss": "6.907", "error": "99.9%", **last})
        shown = bar.format_meter(**(bar.format_dict | {"ncols": 80, "elapsed": 36_000}))
    assert len(shown) == 80
    ((name, value),) = last.items()
    assert shown.endswith(f"[10:00:00<36:10:21, loss=6.907, error=99.9%, {name}={value}]")


@pytest.mark.parametrize("options", [{"shown": False}, {"shown": True, "detailed": False}])
def test_bar_of_several_runs_or_of_another_process_tells_nothing(
    options: dict[str, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBar(20, **options) as bar:
        bar.tell("epoch 1")
    assert "epoch" not in capsys.readouterr().err
