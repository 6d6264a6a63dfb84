"""The sections with images, compared with the images and the network."""

import base64
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from src.report import augmentation, feature_maps, neighbors, occlusion, predictions
from src.report.images import photo
from src.report.run import Examples, Run


@pytest.fixture(scope="module")
def run(workdir: Path) -> Run:
    return Run(workdir)


def read_all(run: Run, split: str) -> Examples:
    return run.read(split, np.arange(run.data.num_examples[split]))


def decode(url: str) -> np.ndarray:
    encoded = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(float)


def test_mistakes_are_the_most_confident_wrong_predictions(run: Run) -> None:
    test = read_all(run, "test")
    p = run.classifier(test.pixels, views=1)
    names = np.array(run.class_names)
    wrong = [i for i in range(len(p)) if p[i].argmax() != test.labels[i]]
    worst = sorted(wrong, key=lambda i: -p[i].max())[: predictions.NUM_IMAGES]
    shown = predictions.mistakes(run, predictions.predict(run))
    assert [entry["percent"] for entry in shown] == pytest.approx([100 * p[i].max() for i in worst])
    assert [entry["image"] for entry in shown] == [photo(test.pixels[i]) for i in worst]
    assert [entry["predicted"] for entry in shown] == [names[p[i].argmax()] for i in worst]
    assert [entry["label"] for entry in shown] == [names[test.labels[i]] for i in worst]


def test_frequent_mistakes_are_counted(run: Run) -> None:
    test = read_all(run, "test")
    predicted = run.classifier(test.pixels, views=1).argmax(axis=1)
    counts = confusion_matrix(test.labels, predicted, labels=range(10))
    pairs = predictions.errors(run.class_names, predictions.predict(run))["pairs"]
    shown = [run.class_names.index(pair["label"]) for pair in pairs]
    predicted_as = [run.class_names.index(pair["predicted"]) for pair in pairs]
    assert [pair["count"] for pair in pairs] == counts[shown, predicted_as].tolist()
    assert [pair["total"] for pair in pairs] == counts.sum(axis=1)[shown].tolist()
    off_diagonal = counts[~np.eye(10, dtype=bool)]
    assert [pair["count"] for pair in pairs] == sorted(off_diagonal, reverse=True)[: len(pairs)]


def test_bars_show_the_top_5_classes_and_mark_the_true_class(run: Run) -> None:
    test = read_all(run, "test")
    indices = {photo(pixels): i for i, pixels in enumerate(test.pixels)}
    shown = predictions.examples(run)
    assert len(shown) == predictions.NUM_IMAGES
    for entry in shown:
        i = indices[entry["image"]]
        (p,) = run.classifier(test.pixels[i : i + 1], views=1)
        top5 = sorted(range(10), key=lambda k: -p[k])[:5]
        assert entry["label"] == run.class_names[test.labels[i]]
        assert [bar["name"] for bar in entry["bars"]] == [run.class_names[k] for k in top5]
        assert [bar["percent"] for bar in entry["bars"]] == pytest.approx(100 * p[top5], rel=1e-4)
        assert [bool(bar["true"]) for bar in entry["bars"]] == [k == test.labels[i] for k in top5]


def test_neighbors_are_the_nearest_training_images(run: Run) -> None:
    shown = neighbors.section(run, among=10**6)
    test, train = read_all(run, "test"), read_all(run, "train")
    queries = {photo(pixels): i for i, pixels in enumerate(test.pixels)}
    rows = [queries[row["image"]] for row in shown["rows"]]
    spaces = {
        "features": [run.classifier.features(split.pixels, "fc7") for split in (test, train)],
        "pixels": [split.pixels for split in (test, train)],
    }
    for kind, (test_vectors, train_vectors) in spaces.items():
        same = 0
        for i, row in zip(rows, shown["rows"], strict=True):
            difference = train_vectors.astype(float) - test_vectors[i].astype(float)
            distances = (difference.reshape(len(difference), -1) ** 2).sum(axis=1)
            nearest = np.argsort(distances, kind="stable")[: neighbors.NUM_NEIGHBORS]
            assert [entry["image"] for entry in row[kind]] == [
                photo(train.pixels[k]) for k in nearest
            ]
            assert [entry["label"] for entry in row[kind]] == [
                run.class_names[train.labels[k]] for k in nearest
            ]
            same += int((train.labels[nearest] == test.labels[i]).sum())
        assert shown["same"][kind] == same


def test_crops_match_their_captions_and_frames(run: Run) -> None:
    shown, crop = augmentation.section(run), run.architecture.image_size
    train = read_all(run, "train")
    (i,) = (i for i, pixels in enumerate(train.pixels) if photo(pixels) == shown["image"])
    assert len(shown["crops"]) == augmentation.NUM_IMAGES
    for entry in shown["crops"]:
        match = re.fullmatch(r"row (\d+), column (\d+)(, mirrored)?", entry["caption"])
        assert match
        row, column = int(match[1]), int(match[2])
        part = train.pixels[i][row : row + crop, column : column + crop]
        assert entry["image"] == photo(np.fliplr(part) if match[3] else part)
        left, top = (f"{100 * offset / run.data.size:.2f}%" for offset in (column, row))
        assert entry["position"] == f"left: {left}; top: {top}"
    assert len({entry["caption"] for entry in shown["crops"]}) > 1


@pytest.mark.parametrize(("form", "divisor"), [("deviations", 1.1), ("eigenvalues", 1)])
def test_captions_state_the_added_colors(
    workdir: Path, form: str, divisor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(workdir)
    run.config.augment.color = form
    bright = run.sample("train", 1)._replace(
        pixels=np.full((1, *[run.data.size] * 2, 3), 200, "u1")
    )
    monkeypatch.setattr(run, "sample", lambda split, count: bright)
    shown = augmentation.section(run)
    crop = run.architecture.image_size
    start = (run.data.size - crop) // 2
    mean = run.data.statistics.mean[start : start + crop, start : start + crop]
    for entry in shown["colors"]:
        caption = entry["caption"].replace("−", "-")
        color = [int(number) for number in re.findall("[+-][0-9]+", caption)]
        expected = np.clip((200 - mean) / divisor + mean + color, 0, 255)
        off = (decode(entry["image"]) - expected).mean(axis=(0, 1))
        np.testing.assert_allclose(off, 0, atol=2)
    assert len({entry["caption"] for entry in shown["colors"]}) > 1


def test_the_second_image_of_a_layer_shows_the_second_tower(workdir: Path) -> None:
    run = Run(workdir)
    first = run.classifier.params["conv1"]
    run.classifier.params["conv1"] = {
        "kernel": first["kernel"].at[1].set(0),
        "bias": first["bias"].at[1].set(0),
    }
    conv1, *_, fc7 = layers = feature_maps.section(run)["layers"]
    assert [layer["name"] for layer in layers] == run.architecture.layer_names[:-1]
    assert conv1["active"][0] > 0
    assert conv1["active"][1] == 0
    shades = [len(np.unique(decode(image).sum(axis=2))) for image in conv1["images"]]
    assert shades[0] > 10
    assert shades[1] <= 2  # its maps, and the gaps
    assert (conv1["kind"], fc7["kind"], fc7["count"]) == ("maps", "units", 16)


def test_neighbors_report_their_layer_and_counts(run: Run) -> None:
    shown: dict[str, Any] = neighbors.section(run, among=50)
    assert (shown["layer"], shown["among"], shown["total"]) == ("fc7", 50, 1437)
    assert shown["shown"] == neighbors.NUM_QUERIES * neighbors.NUM_NEIGHBORS


def test_occlusion_maps_are_as_bright_as_hiding_matters(run: Run) -> None:
    test, size = read_all(run, "test"), run.data.size
    indices = {photo(pixels): i for i, pixels in enumerate(test.pixels)}
    first, *_ = shown = occlusion.section(run)
    assert len(shown) == occlusion.NUM_IMAGES
    pixels = test.pixels[indices[first["image"]]]
    (before,) = run.classifier(pixels[None], views=1)
    best = before.argmax()
    side, mean = size // 4, run.data.statistics.mean.round()
    after, fall, times = [], np.zeros((size, size)), np.zeros((size, size))
    for row in np.linspace(0, size - side, occlusion.GRID, dtype=int):
        for column in np.linspace(0, size - side, occlusion.GRID, dtype=int):
            part = slice(row, row + side), slice(column, column + side)
            copy = pixels.copy()
            copy[part] = mean[part]
            after.append(run.classifier(copy[None], views=1)[0, best])
            fall[part] += max(before[best] - after[-1], 0)
            times[part] += 1
    assert first["predicted"]["name"] == run.class_names[best]
    assert first["predicted"]["before"] == pytest.approx(before[best], rel=1e-4)
    assert first["predicted"]["after"] == pytest.approx(min(after), rel=1e-3)
    heat = (decode(first["map"]) - 0.4 * pixels.mean(axis=2, keepdims=True)).sum(axis=2)
    assert np.corrcoef(heat.ravel(), (fall / times).ravel())[0, 1] > 0.95
