"""Draws docs/figure2.svg, the paper's network in its two towers: python docs/figure2.py."""

import re
import sys
from pathlib import Path

import matplotlib

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from src.models.presets import PAPER  # noqa: E402
from src.report import network_figure, svg  # noqa: E402
from src.report.network import describe  # noqa: E402


def image() -> str:
    """An SVG file in the report's colors, for light and dark screens."""
    with matplotlib.rc_context(svg.STYLE):
        drawing = network_figure.draw(describe(PAPER, num_classes=1000), vertical=False)
    css = (ROOT / "src/report/page.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    style = (
        f"<style>svg {{{light}background: var(--background); font-family: sans-serif }}"
        f"@media (prefers-color-scheme: dark) {{svg {{{dark}}}}}</style>"
    )
    opening, body = re.sub(r"\s+", " ", drawing).split(">", 1)
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"{opening} {namespaces}>{style}{body}\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(image())
