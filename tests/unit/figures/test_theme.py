"""The palette, and the files that suit light and dark screens."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from src.figures import theme

# What color-blind people see of linear red, green and blue (Machado et al. 2009, severity 1).
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def linear(color: str) -> np.ndarray:
    """Linear red, green and blue of a color such as #0a5cec."""
    c = np.array(list(bytes.fromhex(color[1:]))) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b*, in which a distance of about 2 can be seen side by side."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(to_xyz @ rgb.clip(1e-3, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("shade", [0, 1], ids=["light", "dark"])
def test_text_and_lines_stand_out_from_the_background(shade: int) -> None:
    luminances = {
        name: linear(c[shade]) @ [0.2126, 0.7152, 0.0722] for name, c in theme.PALETTE.items()
    }
    background = luminances.pop("background")
    del luminances["border"]
    for name, luminance in luminances.items():
        low, high = sorted((background, luminance))
        assert (high + 0.05) / (low + 0.05) > 4.5, name  # of WCAG, for text


@pytest.mark.parametrize("shade", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("blindness", BLINDNESS)
def test_color_blind_readers_can_tell_the_series_apart(blindness: str, shade: int) -> None:
    colors = [theme.PALETTE[f"series-{number}"][shade] for number in range(theme.NUM_COLORS)]
    seen = [lab(np.array(BLINDNESS[blindness]) @ linear(color)) for color in colors]
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    assert min(distances) > 15


def test_few_points_of_a_curve_include_its_ends() -> None:
    assert theme.spread(3, 5).tolist() == [0, 1, 2]
    assert theme.spread(101, 3).tolist() == [0, 50, 100]
    assert theme.spread(0, 3).tolist() == []


def draw() -> Figure:
    figure = theme.figure(200, 100)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=theme.series(0))
    axes.text(0, 0, "a label", color=theme.MUTED)
    axes.set_xlabel("epochs")
    return figure


def test_every_color_of_an_svg_has_a_dark_shade(tmp_path: Path) -> None:
    (path,) = theme.write(draw, tmp_path / "new" / "figure", ["svg"])
    svg = path.read_text()
    rules = dict(re.findall(r'\[style\*="(\w+: #\w+)"\]\{\w+:(#\w+)!important\}', svg))
    assert svg.index("@media (prefers-color-scheme:dark){[style*=") > 0
    drawn = set(re.findall(r"(?<!\*=\")((?:fill|stroke): #\w{6})", svg))
    assert {"stroke: #0a5cec", "fill: #5d6470", "fill: #ffffff"} <= drawn
    assert rules.keys() == drawn
    assert rules["stroke: #0a5cec"] == "#1f96fd"
    assert ">a label</text>" in svg


def test_pdf_and_png_have_a_light_and_a_dark_version(tmp_path: Path) -> None:
    names = [path.name for path in theme.write(draw, tmp_path / "figure", ["pdf", "png"])]
    assert names == ["figure.pdf", "figure-dark.pdf", "figure.png", "figure-dark.png"]
    corners = [Image.open(tmp_path / name).convert("RGB").getpixel((0, 0)) for name in names[2:]]
    assert corners == [(255, 255, 255), (0x14, 0x16, 0x1A)]
    assert (tmp_path / "figure.pdf").read_bytes() != (tmp_path / "figure-dark.pdf").read_bytes()


def test_in_a_page_figures_have_the_colors_of_its_css() -> None:
    element = theme.inline(draw(), "A line")
    assert 'aria-label="A line"' in element
    assert "stroke: var(--series-0)" in element
    assert not re.search("(fill|stroke): #", element)
