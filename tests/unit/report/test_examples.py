"""What the page shows of images, against the images and the network themselves."""

import base64
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from src.report import augmentation, feature_maps, neighbors, predictions
from src.report.images import photo
from src.report.run import Examples, Run


@pytest.fixture(scope="module")
def run(workdir: Path) -> Run:
    return Run(workdir)


def whole(run: Run, split: str) -> Examples:
    return run.read(split, np.arange(run.data.num_examples[split]))


def pixels_of(address: str) -> np.ndarray:
    encoded = np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(float)


def test_the_mistakes_are_the_wrong_predictions_that_were_surest(run: Run) -> None:
    test = whole(run, "test")
    p = run.classifier(test.pixels, views=1)
    names = np.array(run.class_names)
    wrong = [i for i in range(len(p)) if p[i].argmax() != test.labels[i]]
    worst = sorted(wrong, key=lambda i: -p[i].max())[: predictions.SHOWN]
    shown = predictions.mistakes(run, predictions.predict(run))
    assert [one["percent"] for one in shown] == pytest.approx([100 * p[i].max() for i in worst])
    assert [one["image"] for one in shown] == [photo(test.pixels[i]) for i in worst]
    assert [one["predicted"] for one in shown] == [names[p[i].argmax()] for i in worst]
    assert [one["label"] for one in shown] == [names[test.labels[i]] for i in worst]


def test_what_is_mixed_up_is_counted(run: Run) -> None:
    test = whole(run, "test")
    predicted = run.classifier(test.pixels, views=1).argmax(axis=1)
    counts = confusion_matrix(test.labels, predicted, labels=range(10))
    pairs = predictions.matrix(run, predictions.predict(run))["pairs"]
    shown = [run.class_names.index(pair["label"]) for pair in pairs]
    taken_for = [run.class_names.index(pair["predicted"]) for pair in pairs]
    assert [pair["count"] for pair in pairs] == counts[shown, taken_for].tolist()
    assert [pair["of"] for pair in pairs] == counts.sum(axis=1)[shown].tolist()
    off_diagonal = counts[~np.eye(10, dtype=bool)]
    assert [pair["count"] for pair in pairs] == sorted(off_diagonal, reverse=True)[: len(pairs)]


def test_bars_are_of_the_likeliest_classes_and_the_true_one_is_marked(run: Run) -> None:
    test = whole(run, "test")
    places = {photo(pixels): i for i, pixels in enumerate(test.pixels)}
    shown = predictions.examples(run)
    assert len(shown) == predictions.SHOWN
    for one in shown:
        i = places[one["image"]]
        (p,) = run.classifier(test.pixels[i : i + 1], views=1)
        likeliest = sorted(range(10), key=lambda k: -p[k])[:5]
        assert one["label"] == run.class_names[test.labels[i]]
        assert [bar["name"] for bar in one["bars"]] == [run.class_names[k] for k in likeliest]
        assert [bar["percent"] for bar in one["bars"]] == pytest.approx(
            100 * p[likeliest], rel=1e-4
        )
        assert [bool(bar["true"]) for bar in one["bars"]] == [
            k == test.labels[i] for k in likeliest
        ]


def test_neighbors_are_the_nearest_of_all_training_images(run: Run) -> None:
    shown = neighbors.show(run, among=10**6)
    test, train = whole(run, "test"), whole(run, "train")
    queries = {photo(pixels): i for i, pixels in enumerate(test.pixels)}
    rows = [queries[row["image"]] for row in shown["rows"]]
    spaces = {
        "features": [run.classifier.features(some.pixels, "fc7") for some in (test, train)],
        "pixels": [some.pixels for some in (test, train)],
    }
    for kind, (of_test, of_train) in spaces.items():
        same = 0
        for i, row in zip(rows, shown["rows"], strict=True):
            difference = of_train.astype(float) - of_test[i].astype(float)
            distances = (difference.reshape(len(difference), -1) ** 2).sum(axis=1)
            nearest = np.argsort(distances, kind="stable")[: neighbors.NEAREST]
            assert [one["image"] for one in row[kind]] == [photo(train.pixels[k]) for k in nearest]
            assert [one["label"] for one in row[kind]] == [
                run.class_names[train.labels[k]] for k in nearest
            ]
            same += int((train.labels[nearest] == test.labels[i]).sum())
        assert shown["same"][kind] == same


def test_crops_are_parts_of_the_image_where_it_says(run: Run) -> None:
    shown = augmentation.show(run)
    train = whole(run, "train")
    (i,) = (i for i, pixels in enumerate(train.pixels) if photo(pixels) == shown["image"])
    assert len(shown["crops"]) == augmentation.SHOWN
    for one in shown["crops"]:
        said = re.fullmatch(r"row (\d+), column (\d+)(, mirrored)?", one["words"])
        assert said
        row, column = int(said[1]), int(said[2])
        part = train.pixels[i][row : row + shown["crop"], column : column + shown["crop"]]
        assert one["image"] == photo(np.fliplr(part) if said[3] else part)
        left, top = (f"{100 * place / shown['size']:.2f}%" for place in (column, row))
        assert one["frame"] == f"left: {left}; top: {top}"
    assert len({one["words"] for one in shown["crops"]}) > 1


@pytest.mark.parametrize(("form", "divisor"), [("deviations", 1.1), ("eigenvalues", 1)])
def test_the_colors_that_are_added_are_told(
    workdir: Path, form: str, divisor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(workdir)
    run.config.augment.color = form
    bright = run.draw("train", 1)._replace(pixels=np.full((1, *[run.data.size] * 2, 3), 200, "u1"))
    monkeypatch.setattr(run, "draw", lambda split, count: bright)
    shown = augmentation.show(run)
    start = (shown["size"] - shown["crop"]) // 2
    mean = run.data.statistics.mean[start : start + shown["crop"], start : start + shown["crop"]]
    for one in shown["colors"]:
        words = one["words"].replace("−", "-")
        color = [int(number) for number in re.findall("[+-][0-9]+", words)]
        expected = np.clip((200 - mean) / divisor + mean + color, 0, 255)
        off = (pixels_of(one["image"]) - expected).mean(axis=(0, 1))
        np.testing.assert_allclose(off, 0, atol=2)
    assert len({one["words"] for one in shown["colors"]}) > 1


def test_the_second_image_of_a_layer_is_of_the_second_tower(workdir: Path) -> None:
    run = Run(workdir)
    first = run.classifier.params["conv1"]
    run.classifier.params["conv1"] = {
        "kernel": first["kernel"].at[1].set(0),
        "bias": first["bias"].at[1].set(0),
    }
    conv1, *_, fc7 = layers = feature_maps.show(run)["layers"]
    assert [layer["name"] for layer in layers] == run.layers[:-1]
    assert conv1["active"][0] > 0
    assert conv1["active"][1] == 0
    shades = [len(np.unique(pixels_of(image).sum(axis=2))) for image in conv1["images"]]
    assert shades[0] > 10
    assert shades[1] <= 2  # its maps, and the gaps
    assert (conv1["kind"], fc7["kind"], fc7["count"]) == ("maps", "units", 16)


def test_what_a_page_tells_of_features_is_of_fc7(run: Run) -> None:
    shown: dict[str, Any] = neighbors.show(run, among=50)
    assert (shown["layer"], shown["among"], shown["total"]) == ("fc7", 50, 1437)
    assert shown["of"] == neighbors.QUERIES * neighbors.NEAREST
