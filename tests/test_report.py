"""The page about a run: its numbers, and how browsers show it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import matplotlib
import numpy as np
import pytest
from flax import nnx
from matplotlib.figure import Figure
from ml_collections import ConfigDict
from sklearn.metrics import confusion_matrix, roc_auc_score

import tiny
from commands import ROOT, run
from configs import alexnet, cifar, small
from src.classifier import load
from src.errors import UserError
from src.metrics import read_lines
from src.models.alexnet import AlexNet
from src.models.cifar import PRESETS as CIFAR
from src.models.presets import PRESETS, Architecture
from src.place import place
from src.processes import Team
from src.report import __main__ as command
from src.report import curves, drawing, facts, guesses, kernels, network, page, pictures, svg
from src.report.run import Run
from src.train import train

RANDOM = np.random.default_rng(0)
SECTIONS = ("curves", "network", "kernels", "examples", "neighbours", "maps", "confusion")
SECTIONS += ("augmentation", "settings")


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with matplotlib.rc_context(svg.STYLE):
        yield


# Kernels


def test_colourfulness_of_known_kernels():
    grey, red = np.ones((11, 11, 3)), np.array([1.0, 0, 0]) * np.ones((11, 11, 1))
    opponent = np.array([1.0, -1, 0]) * RANDOM.normal(size=(11, 11, 1))
    together = np.stack([grey, red, opponent, np.zeros((11, 11, 3))], axis=-1)
    np.testing.assert_allclose(kernels.colourfulness(together), [0, 2 / 3, 1, 0], atol=1e-12)


def test_colourfulness_is_the_energy_of_the_projection():
    weights = RANDOM.normal(size=(5, 5, 3, 2000)) * np.array([1, 2, 3]).reshape(3, 1)
    project = np.eye(3) - np.full((3, 3), 1 / 3)
    orthogonal = np.einsum("cd,hwdm->hwcm", project, weights)
    expected = (orthogonal**2).sum((0, 1, 2)) / (weights**2).sum((0, 1, 2))
    np.testing.assert_allclose(kernels.colourfulness(weights), expected)
    independent = kernels.colourfulness(RANDOM.normal(size=(5, 5, 3, 2000)))
    assert independent.mean() == pytest.approx(kernels.RANDOM_KERNEL, abs=0.01)


def test_chance_of_more_is_the_area_under_the_curve():
    one, other = RANDOM.integers(0, 20, 48) / 20, RANDOM.integers(5, 25, 40) / 20
    area = roc_auc_score([0] * 48 + [1] * 40, [*one, *other])
    assert kernels.chance_of_more(one, other) == pytest.approx(area)


def test_a_first_layer_without_shared_kernels_has_no_figure():
    assert kernels.show(np.ones((1, 6, 6, 75, 8))) is None
    shown = kernels.show(RANDOM.normal(size=(2, 5, 5, 3, 8)))
    assert shown is not None
    assert [len(tower["images"]) for tower in shown["towers"]] == [8, 8]


# The network

PARAMETERS = {"paper": 60_965_224, "chm145": 60_965_224, "one_gpu": 59_798_312}
PARAMETERS |= {"torchvision": 61_100_840, "80sec": 145_578, "19pct": 89_578}
PARAMETERS |= {"conv-local-13pct": 1_116_490, "conv-local-11pct": 2_112_970}
EXCHANGES = {"paper": 4, "chm145": 4, "torchvision": 7}
ALL = {**PRESETS, **CIFAR}


def layers_of(name: str) -> network.Network:
    return network.read(ALL[name], 1000 if name in PRESETS else 10)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_drawing_has_every_layer_and_its_parameters(name: str):
    net = layers_of(name)
    assert net.parameters == PARAMETERS[name]
    assert [layer.name for layer in net.layers] == [*ALL[name].convs, *ALL[name].dense]
    for standing in (False, True):
        drawn = drawing.draw(net, standing=standing)
        for layer in net.layers:
            assert f">{layer.name}</text>" in drawn
            assert f">{layer.parameters:,}</text>" in drawn
            assert layer.received == 0 or f">{layer.received:,} cross</text>" in drawn
        exchanges = EXCHANGES.get(name, 0)
        assert drawn.count("sees all towers") == exchanges
        crossing = drawn.count("stroke: var(--accent)")
        assert crossing == 2 * exchanges if standing else (crossing > 0) == (exchanges > 0)
        assert ("tower 2" in drawn) == (net.towers > 1)


def test_the_papers_network_is_that_of_its_figure():
    layers = {layer.name: layer for layer in layers_of("paper").layers}
    assert {name: layer.parameters for name, layer in layers.items()} == {
        "conv1": 34_944,
        "conv2": 307_456,
        "conv3": 885_120,
        "conv4": 663_936,
        "conv5": 442_624,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    }
    assert layers["conv1"].makes == (55, 55, 48)
    assert layers["conv1"].hands_on == layers["conv2"].sees == (27, 27, 48)
    assert layers["conv3"].sees == (13, 13, 256)
    assert layers["conv5"].hands_on == (6, 6, 128)
    assert layers["fc6"].sees == (9216,)
    assert layers["fc8"].makes == (500,)
    assert {name: layer.received for name, layer in layers.items() if layer.received} == {
        "conv3": 13 * 13 * 128,
        "fc6": 6 * 6 * 128,
        "fc7": 2048,
        "fc8": 2048,
    }
    dropped = [name for name, layer in layers.items() if "dropout 0.5" in layer.then]
    assert dropped == ["fc6", "fc7"]
    assert layers_of("paper").sent == 30_336
    assert layers_of("one_gpu").sent == 0
    # Caffe's windows need the other's maps too, before or after they are pooled.
    assert layers_of("bvlc").sent == 30_336 + 55 * 55 * 48 + 27 * 27 * 128
    assert f">{55 * 55 * 48:,} cross<" in drawing.draw(layers_of("bvlc"), standing=True)
    assert layers_of("caffenet").sent == 30_336 + 27 * 27 * 48 + 13 * 13 * 128


@pytest.mark.parametrize("name", ["chm145", "conv-local-11pct"])
def test_shapes_are_those_that_are_computed(name: str):
    fields = ALL[name]
    reduced = Architecture(
        **{
            **{field: getattr(fields, field) for field in fields.__dataclass_fields__},
            "image_size": fields.image_size if fields.towers == 1 else 99,
        }
    )
    model = AlexNet(10, reduced, rngs=nnx.Rngs(0))
    images = np.zeros((1, reduced.image_size, reduced.image_size, 3), np.float32)
    computed = {name: x[0].shape[1:] for name, x in model.activations(images).items()}
    found = network.read(reduced, 10)
    assert {layer.name: layer.hands_on for layer in found.layers} == computed
    assert found.parameters == sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (alexnet.get_config("imagenet2012"), "AlexNet (paper)"),
        (small.get_config(), "AlexNet (paper)"),
        (tiny.get_config(), "AlexNet (paper), varied"),
        (cifar.get_config("19pct-translations"), "cuda-convnet's 19pct"),
    ],
)
def test_networks_are_called_by_the_published_one_that_they_are(config: ConfigDict, name: str):
    assert network.called(config.model) == name


def test_published_networks_are_told_apart():
    for name, preset in network.PUBLISHED.items():
        assert network.called(ConfigDict(asdict(preset))) == name


# Guesses


def test_confusion_counts_pairs():
    labels, guessed = RANDOM.integers(0, 7, (2, 500)).astype(np.int32)
    counts = guesses.confusion(labels, guessed, 7)
    np.testing.assert_array_equal(counts, confusion_matrix(labels, guessed, labels=range(7)))


def test_of_many_classes_the_most_confused_are_shown():
    counts = np.diag(np.full(1000, 50))
    counts[3, 900], counts[900, 3], counts[500, 501] = 9, 2, 12
    assert guesses.mistaken(counts) == [(500, 501), (3, 900), (900, 3)]
    assert guesses.most_confused(counts).tolist() == [3, 500, 501, 900]
    assert guesses.most_confused(counts, most=3).tolist() == [500, 501]
    assert guesses.most_confused(counts[:20, :20]).tolist() == list(range(20))
    assert len(guesses.most_confused(RANDOM.integers(0, 9, (50, 50)))) == 20


def test_classes_may_be_called_anything():
    names = ["$a$ & <b>", "数字", "a name that is rather long"]
    drawn = guesses._heat(np.diag([3, 2, 1]), np.arange(3), names, guesses.SCREEN)
    for shown in ("$a$ &amp; &lt;b&gt;", "数字", "a name t…er long"):
        assert drawn.count(f">{shown}</text>") == 2


def test_long_names_stay_different_when_shortened():
    assert guesses.shortened(["golden retriever", "labrador retriever"], 16) == [
        *("golden retriever", "labrador…triever")
    ]
    alike = [f"class number {number}, of many names" for number in ("0450", "0768")]
    assert guesses.shortened(alike, 16) == ["…0450, o…y names", "…0768, o…y names"]


# Curves and pictures


def test_curves_are_thinned_to_means():
    x, y = curves.thinned(np.arange(3000.0), np.arange(3000.0) ** 2)
    assert len(x) == curves.POINTS
    np.testing.assert_allclose(x, np.arange(4.5, 3000, 10))
    np.testing.assert_allclose(y, [(np.arange(i, i + 10) ** 2).mean() for i in range(0, 3000, 10)])


def lines(splits: str, rates: list[float]) -> list[dict[str, Any]]:
    found = []
    for epoch, rate in enumerate(rates, 1):
        line = {"epoch": epoch, "loss": 2.0, "top1_error": 0.5, "learning_rate": rate}
        found += [{**line, "split": split} for split in splits.split()]
    return found


def test_curves_of_what_is_not_logged_are_not_drawn():
    assert curves.draw([[]]) == []
    assert len(curves.draw([[], lines("test", [0.1])])) == 2


def test_curves_begin_at_zero_and_end_below_the_top():
    axes = Figure().subplots()
    axes.plot([2.0, 3.0], [100.0, 100.0])
    curves._show_zero(axes)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert (left, bottom) == (0, 0)
    assert right > 3
    assert top > 101


def test_a_single_line_is_marked():
    one, more = (curves.draw([lines("train", rates)]) for rates in ([0.1], [0.1, 0.1]))
    assert [drawn.count("<use") for drawn in one] > [drawn.count("<use") for drawn in more]


def test_runs_of_one_colour_have_other_dashes():
    told = {(svg.series(number), svg.dash(number)) for number in range(18)}
    assert len(told) == 18


@pytest.mark.parametrize(
    ("runs", "decades"),
    [
        ([lines("train", [0.1])], False),
        ([lines("train test", [0.1] * 3 + [0.01] * 3)], True),
        ([lines("train", [0.3, 0.2, 0.1, 0.0])], False),
    ],
)
def test_curves_of_runs_that_have_just_begun_and_of_rates_that_drop(runs, decades):
    loss, error, rate = curves.draw(runs)
    assert loss.count("<svg") == error.count("<svg") == 1
    assert "loss, nats" in loss
    assert "10^{-2}" in rate or "−2" in rate if decades else "0.0" in rate


def test_metrics_that_are_being_written_are_read_up_to_there(tmp_path: Path):
    assert read_lines(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_lines(tmp_path) == [{"step": 1}, {"step": 2}]


def test_a_mosaic_has_each_tile_in_its_place():
    tiles = RANDOM.integers(0, 256, (5, 2, 3, 3), dtype=np.uint8)
    whole = pictures.mosaic(tiles, columns=3, scale=2, gap=1)
    assert whole.shape == (9, 20, 4)
    np.testing.assert_array_equal(whole[5:9:2, 7:13:2, :3], tiles[4])
    assert (whole[4, :, 3] == 0).all()
    assert (whole[5:9, 14:, 3] == 0).all()


# The page


def trained(root: Path, name: str, config: ConfigDict) -> Path:
    config.data.root = str(root / "prepared")
    config.mesh.data, config.mesh.model = "8", "1"
    assert train(config, root / name, Team(place({}), **config.processes)) == 0
    return root / name


@pytest.fixture(scope="module")
def workdir(cache: Path) -> Path:
    return trained(cache, "report", tiny.get_config())


@pytest.fixture(scope="module")
def written(workdir: Path, cache: Path) -> tuple[Path, str]:
    """The page and what the command said."""
    done = run("src.report", f"--workdir={workdir},{workdir}", cache=cache)
    assert done.returncode == 0, done.stderr
    return workdir / "report" / "index.html", done.stdout


def test_the_command_says_where_the_page_is_and_how_large(written):
    path, said = written
    assert re.fullmatch(rf"{re.escape(str(path))}: \d\.\d MB\n", said)
    assert path.stat().st_size < 4e6


def test_the_page_has_the_runs_numbers(written, workdir: Path):
    text = " ".join(written[0].read_text().split())
    result = json.loads((workdir / "result.json").read_text())
    assert f"<b>{100 * result['top1_error']:.1f}%</b><span>top-1 error" in text
    # The page counts for itself, and the result is of one view too.
    assert f"<p>{100 * result['top1_error']:.1f}% of test is taken for another class" in text
    assert "Errors are of 360 images (test), 1 view of each." in text
    assert "exact, among all 1,437 training images" in text
    parameters = sum(x.size for x in jax.tree.leaves(load(workdir).params))
    assert f"<b>{parameters:,}</b><span>parameters" in text
    named = {colour for colour in svg._VARIABLES if colour in text}
    assert not named
    assert "network after 24 steps, the newest checkpoint" in text
    assert "AlexNet (paper), varied in 2 towers, trained on digits" in text


def test_the_numbers_are_of_the_checkpoints_own_step(workdir: Path):
    run = Run(workdir)
    result = json.loads((workdir / "result.json").read_text())
    evaluated = {line["step"]: line for line in read_lines(workdir) if line["split"] == "test"}

    def at(step: int) -> dict[str, Any]:
        run.classifier.step = step
        found = facts.facts(run, run.data, 0.123)
        return {name: found[name] for name in ("top1_error", "known", "is_last", "seconds")}

    told = {"known": True, "is_last": False, "seconds": None}
    assert at(12) == {**told, "top1_error": evaluated[12]["top1_error"]}
    assert at(8) == {**told, "top1_error": 0.123, "known": False}
    last = {"is_last": True, "seconds": result["seconds"]}
    assert at(24) == {**told, **last, "top1_error": result["top1_error"]}


@pytest.fixture
def without_images(workdir: Path, tmp_path: Path) -> Path:
    """A copy of the run whose images are gone."""
    copy = tmp_path / "moved"
    shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns("report"))
    config = json.loads((copy / "config.json").read_text())
    config["data"]["dataset"] = f"folder:{tmp_path / 'gone'}"
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_without_its_images_a_run_has_a_page_that_says_why(without_images: Path, capsys):
    text = " ".join(page.write([without_images]).read_text().split())
    sections = re.findall('<section id="([a-z]*)"', text)
    assert sections == ["curves", "network", "kernels", "missing", "settings"]
    assert re.search("What takes images is left out: [^<]*gone", text)
    assert "a page without images" in capsys.readouterr().err
    result = json.loads((without_images / "result.json").read_text())
    assert f"<b>{100 * result['top1_error']:.1f}%</b><span>top-1 error" in text


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not chromium():
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


def look(browser: Any, path: Path, width: int, scheme: str) -> dict[str, Any]:
    """What a browser finds on the page."""
    shown = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints, requests = [], []
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on("request", lambda request: requests.append(request.url))
    shown.goto(path.as_uri())
    shown.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = shown.evaluate(
        """async () => {
          await Promise.all([...document.images].map(i => i.decode().catch(() => null)));
          return {
            images: [...document.images].map(i => i.naturalWidth),
            sections: [...document.querySelectorAll('section')].map(s => s.id),
            empty: [...document.querySelectorAll('section')].filter(
              s => s.getBoundingClientRect().height < 60).map(s => s.id),
            width: document.documentElement.scrollWidth,
            wide: [...document.body.querySelectorAll('*')].filter(e => !e.closest('svg') &&
              e.getBoundingClientRect().right > window.innerWidth + 1).map(e => e.outerHTML),
            letters: [...document.querySelectorAll('svg text')].filter(
              t => t.getBoundingClientRect().width > 0).map(
              t => parseFloat(getComputedStyle(t).fontSize) *
                Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b)),
            drawings: [...document.querySelectorAll('svg')].filter(
              s => s.getBoundingClientRect().width > 0).map(s => s.getBoundingClientRect().width),
            background: getComputedStyle(document.body).backgroundColor,
            ink: getComputedStyle(document.querySelector('svg text')).fill,
            ids: [...document.querySelectorAll('[id]')].map(e => e.id),
          }
        }"""
    )
    shown.close()
    beyond = [url for url in requests if not url.startswith(("data:", path.as_uri()))]
    return {**found, "complaints": complaints, "requests": beyond}


def assert_presentable(found: dict[str, Any], width: int, sections: tuple[str, ...]) -> None:
    assert found["complaints"] == []
    assert found["requests"] == []
    assert found["width"] <= width
    assert found["wide"] == []
    assert tuple(found["sections"]) == sections
    assert found["empty"] == []
    assert len(found["images"]) > 20
    assert min(found["images"]) > 0
    assert len(found["ids"]) == len(set(found["ids"]))


def brightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / (3 * 255)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 360])
def test_browsers_show_the_page(written, browser, width: int, scheme: str):
    found = look(browser, written[0], width, scheme)
    assert_presentable(found, width, SECTIONS)
    assert len(found["drawings"]) == 6  # curves, the network once, a histogram, a matrix
    assert min(found["drawings"]) > 250
    assert min(found["letters"]) >= 9
    background, ink = brightness(found["background"]), brightness(found["ink"])
    assert (background > 0.9, ink < 0.5) == ((True, True) if scheme == "light" else (False, False))


@pytest.mark.parametrize("width", [1280, 360])
def test_percentages_stay_whole_beside_long_names(written, browser, width: int):
    shown = browser.new_page(viewport={"width": width, "height": 800})
    shown.goto(written[0].as_uri())
    heights = shown.evaluate(
        """() => {
          document.querySelectorAll('.bar .name').forEach(
            name => name.textContent = 'class number 0450, of many names, '.repeat(5));
          const heights = query => [...document.querySelectorAll(query)].map(
            e => e.getBoundingClientRect().height);
          return [heights('.bar .name'), heights('.bar > span > span:last-child')];
        }"""
    )
    shown.close()
    names, bars = map(max, heights)
    line = 0.8 * 16 * 1.25
    assert names < 2.5 * line
    assert bars < 2.5 * line


def one_tower() -> ConfigDict:
    config = tiny.get_config()
    config.model.towers = 1
    return config


def four_towers_of_their_own_first_kernels() -> ConfigDict:
    config = tiny.get_config()
    config.model.towers = 4  # which don't divide the ten classes
    config.model.convs.conv1.update(local=True, size=3)
    return config


def locally_connected() -> ConfigDict:
    config = cifar.get_config("conv-local-13pct", "digits")
    config.batch_size = 32
    return config


def without_hidden_dense_layer() -> ConfigDict:
    config = cifar.get_config("19pct", "digits")
    config.batch_size = 32
    return config


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        one_tower,
        four_towers_of_their_own_first_kernels,
        locally_connected,
        without_hidden_dense_layer,
    ],
)
def test_any_network_has_a_page(make, cache: Path, browser):
    config = make()
    config.duration = config.evaluate_every = "2 steps"
    workdir = trained(cache, make.__name__, config)
    (workdir / "result.json").unlink()
    path = page.write([workdir], among=100)
    sections = SECTIONS
    if make is four_towers_of_their_own_first_kernels:
        sections = tuple(name for name in SECTIONS if name != "kernels")
    assert_presentable(look(browser, path, 360, "light"), 360, sections)
    text = " ".join(path.read_text().split())
    assert "among 100 of the 1,437 training images, drawn at random" in text
    layer = [*config.model.convs, *config.model.dense][-2]
    assert f"nearest by the {layer} features" in text
    assert "The run is not finished" in text
    assert "epochs of 2 steps" in text


def test_folders_without_a_run_or_a_checkpoint_are_mistakes(workdir: Path, tmp_path: Path, cache):
    done = run("src.report", f"--workdir={workdir},{tmp_path / 'none'}", cache=cache)
    assert done.returncode == 2
    assert re.fullmatch(r"error: workdir \S+none: no config.json .*\n", done.stderr)
    for name in ("config.json", "preprocessing.npz"):
        shutil.copy(workdir / name, tmp_path / name)
    with pytest.raises(UserError, match="checkpoint"):
        page.write([tmp_path])


def test_without_the_extra_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr(command, "EXTRA", ("jinja2", "no_such_package"))
    with pytest.raises(UserError, match=r"^no_such_package not installed: .*\.\[report\]"):
        command.check_extra()
    look_at = (
        "import sys, src.report.__main__ as m; sys.exit(any(p in sys.modules for p in m.EXTRA))"
    )
    assert subprocess.run([sys.executable, "-c", look_at], cwd=ROOT).returncode == 0
