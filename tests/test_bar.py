import time

from src.bar import Bar


def test_steps_that_were_done_before_say_nothing_about_the_speed() -> None:
    with Bar(100, shown=True) as bar:
        bar.go_to(90)
        time.sleep(0.2)
        bar.update()
        told = bar.format_dict
    assert (told["n"], told["total"]) == (91, 100)
    assert (told["n"] - told["initial"]) / told["elapsed"] < 1 / 0.2


def test_a_bar_that_is_not_shown_takes_the_same_calls() -> None:
    with Bar(100, shown=False) as bar:
        bar.go_to(90)
        bar.update()
        bar.go_to(bar.total)
