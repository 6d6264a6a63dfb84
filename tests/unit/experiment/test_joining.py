import json
import re
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from src import conclusion, joining
from src.errors import UserError
from tests.support.finished import collected, of_two_variants

HERE, THERE = Path("here.json"), Path("there.json")


def results(tmp_path: Path, config: ConfigDict, tried: dict | None = None) -> dict[str, Any]:
    """Of an experiment in which a run's error is 40% and the seed in percent."""
    runs = {name: [([0.5], 0.4 + seed / 100) for seed in config.seeds] for name in config.order}
    return collected(tmp_path / str(len(list(tmp_path.iterdir()))), config, runs, tried)


def part(order: tuple[str, ...], seeds: tuple[int, ...], **options) -> ConfigDict:
    config = of_two_variants(seeds=seeds, **options)
    config.order = order
    return config


def test_parts_of_three_machines_are_as_of_one(tmp_path: Path) -> None:
    whole = results(tmp_path, part(("plain", "better"), (0, 1, 10)))
    here = part(("better",), (1, 10))
    third = results(tmp_path, part(("better",), (0,)))
    there = results(tmp_path, part(("plain",), (0, 1, 10)))
    joining.check(here, {THERE: there, Path("third.json"): third})
    found = joining.join(here, [results(tmp_path, here), there, third])
    assert json.dumps(found) == json.dumps(whole)  # with the same order of variants and seeds
    assert conclusion.sentences(found) == conclusion.sentences(whole)


def test_seeds_may_be_of_one_variant_alone(tmp_path: Path) -> None:
    here = part(("plain",), (1, 2))
    there = results(tmp_path, part(("plain", "better"), (0,)))
    joining.check(here, {THERE: there})
    said = conclusion.sentences(joining.join(here, [results(tmp_path, here), there]))
    assert "better has 1.00 points less than plain, 40.00% against 41.00 ± 1.00%" in said
    assert said.endswith("(none, 1 to 3 seeds).\n")


def test_a_run_that_diverged_elsewhere_is_part_of_the_outcome(tmp_path: Path) -> None:
    here = part(("plain", "better"), (1,))
    there = collected(tmp_path / "there", part(("better",), (0,)), {"better": [([0.9],)]})
    joining.check(here, {THERE: there})
    found = joining.join(here, [results(tmp_path, here), there])
    assert (
        "better against plain: 41.00% with 1 of 2 seeds, diverged with 1 of 2 seeds against 41.00%"
    ) in conclusion.sentences(found)


def test_what_was_searched_for_elsewhere_holds_here(tmp_path: Path) -> None:
    searches = {"rates": {"better": (0.01, 0.02)}}
    there = results(
        tmp_path, part(("better",), (0,), **searches), {"better": {0.01: 1.0, 0.02: float("inf")}}
    )
    here = part(("plain", "better"), (1,), **searches)
    joining.check(here, {THERE: there})
    tried = joining.searched([there])
    assert tried == {"better": {0.01: 1.0, 0.02: float("inf")}}
    found = joining.join(here, [results(tmp_path, here, tried), there])
    assert found["variants"]["better"]["recipe"]["schedule.rate"] == 0.01
    assert found["variants"]["better"]["tried"] == {"0.01": 1.0, "0.02": None}

    more = part(("plain",), (1,), rates={"better": (0.01, 0.02, 0.04)})
    reject(
        more,
        {THERE: there},
        "there.json: config.rates.better were 0.01, 0.02 and are 0.01, 0.02, 0.04",
    )

    third = results(
        tmp_path, part(("better",), (2,), **searches), {"better": {0.01: 1.0, 0.02: 0.9}}
    )
    with pytest.raises(UserError, match=r"better\.schedule\.rate was 0.01 and is 0.02"):
        joining.check(here, {THERE: there, HERE: third})


def reject(config: ConfigDict, parts: dict[Path, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^--join={re.escape(message)}"):
        joining.check(config, parts)


def test_what_does_not_belong_together_is_not_joined(tmp_path: Path) -> None:
    config = part(("plain",), (0,))
    there = results(tmp_path, part(("plain",), (1,)))
    joining.check(config, {THERE: there})
    reject(config, {THERE: {**there, "claim": "A"}}, "there.json: it is of another experiment: A")
    until = {**there, "until_training_error": 0.2}
    reject(config, {THERE: until}, "there.json: config.until_training_error was 0.2 and is 0.0")
    search = {**there, "search": "1 epoch"}
    reject(config, {THERE: search}, "there.json: config.search was '1 epoch' and is '2 epochs'")
    other = {**there, "variants": {"other": there["variants"]["plain"]}}
    reject(config, {THERE: other}, "there.json: other is no variant of this experiment")
    config.variants.plain.batch_size = 1
    reject(config, {THERE: there}, "there.json: config.variants.plain.batch_size was 32 and is 1")


def test_a_run_that_is_elsewhere_too_is_not_joined(tmp_path: Path) -> None:
    there = results(tmp_path, part(("plain", "better"), (0, 9, 10, 11)))
    twice = "there.json: seed 9, 10 of plain is in another part too"
    reject(part(("plain",), (10, 9, 8)), {THERE: there}, twice)
    again = "here.json: seed 0, 9, 10, 11 of plain is in another part too"
    reject(part(("better",), (1,)), {THERE: there, HERE: there}, again)


def test_networks_that_are_elsewhere_are_not_averaged(tmp_path: Path) -> None:
    there = results(tmp_path, part(("plain",), (0,)))
    joining.check(part(("better",), (0, 1), average=True), {THERE: there})
    config = part(("plain",), (1,), average=True)
    reject(config, {THERE: there}, "there.json: the networks of plain can't be averaged")
    config.average = False
    joining.check(config, {THERE: there})
    there["variants"]["plain"]["average"] = 0.3  # of those that are there alone
    found = joining.join(config, [results(tmp_path, config), there])
    assert found["variants"]["plain"]["average"] is None
    found = joining.join(config, [results(tmp_path, part(("better",), (1,))), there])
    assert found["variants"]["plain"]["average"] == 0.3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory"),
        ("{", "no results.json"),
        ("[1, 2]", "no results.json"),
        ("{%s}", "no results.json"),
        ('{%s, "variants": []}', "no results.json"),
        ('{%s, "variants": {"a": 3}}', "no results.json"),
        ('{%s, "variants": {"a": {}}}', "no results.json"),
    ],
)
def test_a_file_that_has_no_results_is_named(
    text: str | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "there.json"
    if text is not None:
        file.write_text(
            text.replace("%s", '"claim": "", "until_training_error": 0, "search": "1 epoch"')
        )
    with pytest.raises(UserError, match=rf"^--join={file}: {message}"):
        joining.read(file)


def test_results_can_be_read_again(tmp_path: Path) -> None:
    found = results(tmp_path, part(("plain",), (0,)))
    file = tmp_path / "results.json"
    file.write_text(json.dumps(found))
    assert joining.read(file) == found
