"""The page about a run: its values, and how browsers show it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import pytest
from ml_collections import ConfigDict

from configs import cifar
from src.inference.classifier import load
from src.report import page
from src.report.run import Run
from src.report.summary import summarize
from src.runs.metrics_file import read_metrics
from tests.support import tiny
from tests.support.commands import run
from tests.support.pages import brightness
from tests.support.runs import trained

SECTIONS = (
    "curves",
    "network",
    "kernels",
    "examples",
    "neighbors",
    "maps",
    "occlusion",
    "confusion",
)
SECTIONS += ("augmentation", "devices", "settings")


@pytest.fixture(scope="module")
def written(workdir: Path, cache: Path) -> tuple[Path, str]:
    """The page and the output of the command."""
    process = run("src.report", f"--workdir={workdir},{workdir}", cache=cache)
    assert process.returncode == 0, process.stderr
    return workdir / "report" / "index.html", process.stdout


def test_the_command_prints_the_path_and_the_size_of_the_page(written):
    path, output = written
    assert re.fullmatch(rf"{re.escape(str(path))}: \d\.\d MB\n", output)
    assert path.stat().st_size < 4e6


def test_the_page_shows_the_results_of_the_run(written, workdir: Path):
    text = " ".join(written[0].read_text().split())
    result = json.loads((workdir / "result.json").read_text())
    assert f"<b>{100 * result['top1_error']:.1f}%</b><span>top-1 error, one view" in text
    # The page computes this error itself. The result is also of one view.
    assert f"misclassifies {100 * result['top1_error']:.1f}% of the test images" in text
    assert "Errors are measured on 360 images (test) with one view of each image." in text
    assert "exact search among all 1,437 training images" in text
    parameters = sum(x.size for x in jax.tree.leaves(load(workdir).params))
    assert f"<b>{parameters:,}</b><span>parameters" in text
    assert not re.search("(fill|stroke): #", text)  # figures have the colors of the page
    assert "network after 24 steps (newest checkpoint)" in text
    assert "<h1>AlexNet (paper), varied · digits</h1>" in text
    assert "report: 2 towers, trained on 1,437 images of 10 classes" in text


def test_results_are_of_the_step_of_the_checkpoint(workdir: Path):
    run = Run(workdir)
    result = json.loads((workdir / "result.json").read_text())
    evaluated = {line["step"]: line for line in read_metrics(workdir) if line["split"] == "test"}

    def at(step: int) -> dict[str, Any]:
        run.classifier.step = step
        summary = summarize(run, run.data, 0.123)
        return {name: summary[name] for name in ("top1_error", "logged", "is_last", "seconds")}

    during = {"logged": True, "is_last": False, "seconds": None}
    assert at(12) == {**during, "top1_error": evaluated[12]["top1_error"]}
    assert at(8) == {**during, "top1_error": 0.123, "logged": False}
    last = {"is_last": True, "seconds": result["seconds"]}
    assert at(24) == {**during, **last, "top1_error": result["top1_error"]}


@pytest.fixture
def without_images(workdir: Path, tmp_path: Path) -> Path:
    """A copy of the run whose images are missing."""
    copy = tmp_path / "moved"
    shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns("report"))
    config = json.loads((copy / "config.json").read_text())
    config["data"] |= {"dataset": f"folder:{tmp_path / 'gone'}", "root": str(tmp_path / "gone")}
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_without_images_the_page_leaves_out_their_sections_and_says_why(
    without_images: Path, caplog
):
    text = " ".join(page.write([without_images]).read_text().split())
    sections = re.findall('<section id="([a-z]*)"', text)
    assert sections == ["curves", "network", "kernels", "missing", "devices", "settings"]
    assert re.search("leaves out the sections that need images: [^<]*gone", text)
    assert "the page has no images" in caplog.text
    result = json.loads((without_images / "result.json").read_text())
    assert f"<b>{100 * result['top1_error']:.1f}%</b><span>top-1 error" in text


def inspect(browser: Any, path: Path, width: int, scheme: str) -> dict[str, Any]:
    """Opens the page in a browser and measures it."""
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints, requests = [], []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(path.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    measured = tab.evaluate(
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
            text: getComputedStyle(document.querySelector('svg text')).fill,
            ids: [...document.querySelectorAll('[id]')].map(e => e.id),
          }
        }"""
    )
    tab.close()
    external = [url for url in requests if not url.startswith(("data:", path.as_uri()))]
    return {**measured, "complaints": complaints, "requests": external}


def assert_presentable(measured: dict[str, Any], width: int, sections: tuple[str, ...]) -> None:
    assert measured["complaints"] == []
    assert measured["requests"] == []
    assert measured["width"] <= width
    assert measured["wide"] == []
    assert tuple(measured["sections"]) == sections
    assert measured["empty"] == []
    assert len(measured["images"]) > 20
    assert min(measured["images"]) > 0
    assert len(measured["ids"]) == len(set(measured["ids"]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 360])
def test_browsers_display_the_page(written, browser, width: int, scheme: str):
    measured = inspect(browser, written[0], width, scheme)
    assert_presentable(measured, width, SECTIONS)
    assert len(measured["drawings"]) == 6  # curves, the network once, a histogram, a matrix
    assert min(measured["drawings"]) > 250
    assert min(measured["letters"]) >= 9
    background, text = brightness(measured["background"]), brightness(measured["text"])
    assert (background > 0.9, text < 0.5) == ((True, True) if scheme == "light" else (False, False))


def test_the_contents_link_all_sections(written, browser):
    tab = browser.new_page()
    tab.goto(written[0].as_uri())
    links, sections, landmarks = tab.evaluate(
        """() => [
          [...document.querySelectorAll('nav a')].map(a => [a.hash.slice(1), a.textContent]),
          [...document.querySelectorAll('main > section')].map(section => [section.id,
            document.getElementById(section.getAttribute('aria-labelledby')).lastChild.textContent]),
          [...document.body.children].map(e => e.tagName),
        ]"""
    )
    tab.close()
    assert links == sections
    assert tuple(name for name, _ in links) == SECTIONS
    assert landmarks == ["HEADER", "NAV", "MAIN"]


def test_the_printed_page_is_light_and_complete(written, browser):
    tab = browser.new_page(viewport={"width": 720, "height": 1000}, color_scheme="dark")
    tab.emulate_media(media="print")
    tab.goto(written[0].as_uri())
    background, text, whole, bars, shown, settings = tab.evaluate(
        """() => {
          const style = query => getComputedStyle(document.querySelector(query));
          const whole = 'figure, .card, .query, .tower, .maps, tr, .bar, .horizontal';
          return [
            style('body').backgroundColor, style('svg text').fill,
            [...document.querySelectorAll(whole)].filter(
              e => getComputedStyle(e).breakInside != 'avoid').map(e => e.outerHTML),
            [style('.bar i').printColorAdjust, style('.bar.true i').backgroundColor],
            [style('.horizontal').display, style('.vertical').display],
            document.querySelector('pre').getBoundingClientRect().height,
          ];
        }"""
    )
    tab.close()
    assert brightness(background) > 0.9 or background == "rgba(0, 0, 0, 0)"
    assert brightness(text) < 0.5
    assert whole == []
    assert bars == ["exact", "rgb(26, 127, 75)"]
    assert shown == ["block", "none"]
    assert settings > 100


@pytest.mark.parametrize("width", [1280, 360])
def test_percentages_do_not_wrap_beside_long_names(written, browser, width: int):
    tab = browser.new_page(viewport={"width": width, "height": 800})
    tab.goto(written[0].as_uri())
    heights = tab.evaluate(
        """() => {
          document.querySelectorAll('.bar .name').forEach(
            name => name.textContent = 'class number 0450, of many names, '.repeat(5));
          const heights = query => [...document.querySelectorAll(query)].map(
            e => e.getBoundingClientRect().height);
          return [heights('.bar .name'), heights('.bar > span > span:last-child')];
        }"""
    )
    tab.close()
    names, bars = map(max, heights)
    line = 0.8 * 16 * 1.25
    assert names < 2.5 * line
    assert bars < 2.5 * line


def one_tower() -> ConfigDict:
    config = tiny.get_config()
    config.model.towers = 1
    return config


def four_towers_with_a_local_first_layer() -> ConfigDict:
    config = tiny.get_config()
    config.model.towers = 4  # 10 classes cannot be divided by 4
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
        four_towers_with_a_local_first_layer,
        locally_connected,
        without_hidden_dense_layer,
    ],
)
def test_any_network_has_a_page(make, cache: Path, browser):
    config = make()
    config.duration = config.evaluate_every = "2 steps"
    config.data.root = str(cache / "prepared")
    workdir = trained(config, cache / make.__name__)
    (workdir / "result.json").unlink()
    path = page.write([workdir], among=100)
    sections = SECTIONS
    if make is four_towers_with_a_local_first_layer:
        sections = tuple(name for name in SECTIONS if name != "kernels")
    assert_presentable(inspect(browser, path, 360, "light"), 360, sections)
    text = " ".join(path.read_text().split())
    assert "among 100 of the 1,437 training images, drawn at random" in text
    layer = [*config.model.convs, *config.model.dense][-2]
    assert f"nearest by the {layer} features" in text
    assert "The run is not finished" in text
    assert "epochs of 2 steps" in text
