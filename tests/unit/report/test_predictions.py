import numpy as np

from src.report import predictions

RANDOM = np.random.default_rng(0)


def test_most_confused_classes_are_chosen_among_many():
    counts = np.diag(np.full(1000, 50))
    counts[3, 900], counts[900, 3], counts[500, 501] = 9, 2, 12
    assert predictions.frequent_mistakes(counts) == [(500, 501), (3, 900), (900, 3)]
    assert predictions.most_confused(counts).tolist() == [3, 500, 501, 900]
    assert predictions.most_confused(counts, max_classes=3).tolist() == [500, 501]
    assert predictions.most_confused(counts[:20, :20]).tolist() == list(range(20))
    assert len(predictions.most_confused(RANDOM.integers(0, 9, (50, 50)))) == 20


def test_class_names_may_contain_any_characters():
    names = ["$a$ & <b>", "数字", "a name that is rather long"]
    figure = predictions._draw_matrix(np.diag([3, 2, 1]), np.arange(3), names, predictions.SCREEN)
    for label in ("$a$ &amp; &lt;b&gt;", "数字", "a name t…er long"):
        assert figure.count(f">{label}</text>") == 2


def test_shortened_names_stay_different():
    assert predictions.shorten(["golden retriever", "labrador retriever"], 16) == [
        *("golden retriever", "labrador…triever")
    ]
    alike = [f"class number {number}, of many names" for number in ("0450", "0768")]
    assert predictions.shorten(alike, 16) == ["…0450, o…y names", "…0768, o…y names"]
