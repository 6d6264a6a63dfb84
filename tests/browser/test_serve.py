"""The page to try a network on, as browsers show it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.inference.classifier import Classifier, load
from src.serve.explanation import TrainingImages
from tests.support.image_content import encoded
from tests.support.pages import brightness
from tests.support.serving import serving

DIGIT = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)))
TRANSFER = """content => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(content)], "digit.png", {type: "image/png"}));
"""
DROP = f"""{TRANSFER}
  const event = {{dataTransfer: transfer, bubbles: true, cancelable: true}};
  document.querySelector("#drop").dispatchEvent(new DragEvent("drop", event));
  return document.documentElement.scrollHeight;
}}"""
PASTE = f"""{TRANSFER}
  const event = {{clipboardData: transfer, bubbles: true}};
  document.body.dispatchEvent(new ClipboardEvent("paste", event));
}}"""


@pytest.fixture(scope="module")
def classifier(digits_run: Path) -> Classifier:
    return load(digits_run)


@pytest.fixture(scope="module")
def address(digits_run: Path, classifier: Classifier) -> Iterator[str]:
    training = TrainingImages(digits_run, classifier, is_asked=False)
    with serving(classifier, training=training) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Any]:
    """Opens the page; there must be no complaint and no request to another place."""
    complaints, requests, tabs = [], [], []

    def opened(width: int = 1280, scheme: str = "light", **options: Any) -> Any:
        viewport = {"width": width, "height": 800}
        tab = browser.new_page(viewport=viewport, color_scheme=scheme, **options)
        tabs.append(tab)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(address)
        return tab

    yield opened
    for tab in tabs:
        tab.close()
    assert [text for text in complaints if "responded with a status of" not in text] == []
    assert [url for url in requests if not url.startswith(("data:", address))] == []


def wait_for_answer(tab: Any) -> str:
    tab.wait_for_selector("#result[aria-busy=false]", state="attached")
    return tab.inner_text("#status")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_dropped_image_shows_classes_maps_and_similar_images(
    open_page, classifier: Classifier, width: int, scheme: str
) -> None:
    tab = open_page(width, scheme)
    height = tab.evaluate(DROP, [*DIGIT])  # before the answer
    (expected,) = classifier.predict_files([DIGIT])
    best = np.argsort(-expected.output)[:5]
    assert wait_for_answer(tab) == f"digit.png: {classifier.class_names[best[0]]}"
    measured = tab.evaluate(
        """async () => {
          await Promise.all([...document.images].map(image => image.decode()));
          const all = query => [...document.querySelectorAll(query)];
          const share = fill => fill.getBoundingClientRect().width /
            fill.parentElement.getBoundingClientRect().width;
          return {
            bars: all("#bars li").map(row => row.innerText.trim().split(/\\s+/)),
            fills: all(".fill").map(share),
            images: all("img").map(image => [image.naturalWidth, image.alt]),
            maps: all(".towers").map(layer => layer.querySelectorAll("img").length),
            nearest: all("#nearest figcaption").map(caption => caption.innerText),
            headings: all("h1, h2").map(heading => heading.innerText),
            height: document.documentElement.scrollHeight,
            width: document.documentElement.scrollWidth,
            background: getComputedStyle(document.body).backgroundColor,
            text: getComputedStyle(document.body).color,
          };
        }"""
    )
    percents = [f"{100 * expected.output[i]:.1f}%" for i in best]
    assert measured["bars"] == [
        [classifier.class_names[i], percent] for i, percent in zip(best, percents, strict=True)
    ]
    np.testing.assert_allclose(measured["fills"], expected.output[best], atol=0.005)
    assert measured["maps"] == [2] * 7  # conv1 … fc7, each with two towers
    assert len(measured["images"]) == 1 + 14 + 6
    assert all(natural_width and alt for natural_width, alt in measured["images"])
    assert all(re.fullmatch(r"\d \(\d+\.\d\)", caption) for caption in measured["nearest"])
    assert len(measured["headings"]) == 4
    assert measured["height"] == height  # nothing moves when the answer comes
    assert measured["width"] == width
    background, text = brightness(measured["background"]), brightness(measured["text"])
    assert (background > 0.9, text < 0.5) == ((True, True) if scheme == "light" else (False, False))


def test_one_tower_has_no_number(open_page) -> None:
    captions = open_page().evaluate(
        """() => {
          const layers = about.layers.map(({name}) => ({name, images: [""], active: [0.5]}));
          fill({image: "", predictions: [], layers, nearest: []});
          return [...document.querySelectorAll("#layers figcaption")].map(text => text.innerText);
        }"""
    )
    assert set(captions) == {"50.0% of the values are above 0", ""}


def test_images_are_chosen_by_keyboard_pasted_and_photographed(open_page, tmp_path: Path) -> None:
    path = tmp_path / "chosen.png"
    path.write_bytes(DIGIT)
    tab = open_page()
    tab.keyboard.press("Tab")
    with tab.expect_file_chooser() as chooser:
        tab.keyboard.press("Space")
    chooser.value.set_files(path)
    assert wait_for_answer(tab).startswith("chosen.png: ")
    tab.evaluate(PASTE, [*DIGIT])
    tab.wait_for_selector("#status:has-text('digit.png: ')")
    assert not tab.is_visible("text=Take a photo")
    phone = open_page(390, has_touch=True, is_mobile=True)
    phone.get_by_label("Take a photo").set_input_files(path)
    assert wait_for_answer(phone).startswith("chosen.png: ")


def test_an_unreadable_image_has_its_reason(open_page) -> None:
    tab = open_page()
    tab.evaluate(DROP, [*b"no image"])
    tab.wait_for_selector("#status.error")
    assert tab.inner_text("[role=status]") == "digit.png: not an image of a known format"
    assert not tab.is_visible("#result")
    tab.evaluate(DROP, [*DIGIT])
    tab.wait_for_selector("#result[aria-busy=false]")
    assert tab.get_attribute("#status", "class") == ""


@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_that_is_no_json_has_a_plain_reason(open_page, status: int) -> None:
    tab = open_page()
    tab.route("**/predict*", lambda route: route.fulfill(status=status, body="Service Unavailable"))
    tab.evaluate(DROP, [*DIGIT])
    tab.wait_for_selector("#status.error")
    reason = f"the server answered with status {status} and no prediction; try again"
    assert tab.inner_text("[role=status]") == f"digit.png: {reason}"
