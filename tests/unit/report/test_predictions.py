import re

import numpy as np
import pytest

from src.report import predictions

RANDOM = np.random.default_rng(0)


def test_mistakes_are_listed_the_most_frequent_first():
    counts = np.diag(np.full(1000, 50))
    counts[3, 900], counts[900, 3], counts[500, 501] = 9, 2, 12
    assert predictions.frequent_mistakes(counts) == [(500, 501), (3, 900), (900, 3)]


def test_a_single_mistake_has_a_color_and_a_number():
    names = ["a", "b", "c"]
    drawing = predictions._draw_matrix(
        np.array([[4999, 1, 0], [0, 4, 0], [1, 0, 3]]), names, predictions.SCREEN
    )
    texts = re.findall(r">([<>&;a-z\d]+)</text>", drawing)
    assert [text for text in texts if text not in names] == [
        "&gt;99", "&lt;1", "100", "25", "75",
    ]  # fmt: skip
    opacities = [float(opacity) for opacity in re.findall(r"[ \"]opacity: ([\d.]+)", drawing)]
    assert len(opacities) >= 2
    assert min(opacities) >= predictions.FAINTEST


@pytest.mark.parametrize(
    ("count", "drawings", "pairs"), [(10, 2, 6), (20, 1, 6), (102, 0, 20), (1000, 0, 20)]
)
def test_many_classes_have_more_pairs_instead_of_a_matrix(count: int, drawings: int, pairs: int):
    labels = np.arange(count).repeat(10)
    classes = np.where(RANDOM.random(len(labels)) < 0.8, labels, RANDOM.permutation(labels))
    names = [f"class {i}" for i in range(count)]
    shown = predictions.errors(names, predictions.Predictions(labels, classes, classes))
    assert (len(shown["drawings"]), len(shown["pairs"])) == (drawings, pairs)
    wrong = (labels != classes).reshape(count, 10).mean(axis=1)
    listed = [row["top1_error"] for row in shown["classes"]]
    np.testing.assert_allclose(listed, sorted(wrong, reverse=True)[:20])
    assert [wrong[names.index(row["class"])] for row in shown["classes"]] == pytest.approx(listed)


def test_class_names_may_contain_any_characters():
    names = ["$a$ & <b>", "数字", "a name that is rather long"]
    figure = predictions._draw_matrix(np.diag([3, 2, 1]), names, predictions.SCREEN)
    for label in ("$a$ &amp; &lt;b&gt;", "数字", "a name t…er long"):
        assert figure.count(f">{label}</text>") == 2


def test_shortened_names_stay_different():
    assert predictions.shorten(["golden retriever", "labrador retriever"], 16) == [
        *("golden retriever", "labrador…triever")
    ]
    alike = [f"class number {number}, of many names" for number in ("0450", "0768")]
    assert predictions.shorten(alike, 16) == ["…0450, o…y names", "…0768, o…y names"]
