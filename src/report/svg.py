"""Figures of matplotlib as SVG in the page, in the page's own colors and font."""

import hashlib
import io
import re
import warnings
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

SERIES = 6  # colors to tell runs or towers apart
DASHES = ("solid", "dashed", "dotted")  # where there are more; what CSS calls them too

# matplotlib draws with colors of which each stands for one that the page sets, light or dark.
INK, QUIET, LINE, ACCENT, PAPER = "#010203", "#020304", "#030405", "#040506", "#050607"
_VARIABLES = {INK: "ink", QUIET: "quiet", LINE: "line", ACCENT: "accent", PAPER: "paper"}
_VARIABLES |= {f"#0607{i:02x}": f"series-{i}" for i in range(SERIES)}

STYLE: Any = {  # matplotlib's types want each key's name
    "svg.fonttype": "none",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
}


def series(number: int) -> str:
    """The color of a run or a tower."""
    return f"#0607{number % SERIES:02x}"


def dash(number: int) -> str:
    """The line of a run, which tells apart those of one color."""
    return DASHES[number // SERIES % len(DASHES)]


def figure(width: float, height: float, constrained: bool = True) -> Figure:
    """A figure of so many pixels, if it is shown as large as it is."""
    return Figure(figsize=(width / 72, height / 72), layout="constrained" if constrained else None)


def inline(drawn: Figure, says: str, widest: float | None = None) -> Markup:
    """The figure as an SVG element, as wide as its place in the page.

    Args:
      says: what it shows, for those who can't see it.
      widest: pixels beyond which it does not grow; none by default.
    """
    text = io.StringIO()
    salt = hashlib.sha256(says.encode()).hexdigest()[:8]  # its ids must be no other figure's
    with matplotlib.rc_context({"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing")  # the browser's fonts will have it
        drawn.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    body = text.getvalue()
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # counted anew in each figure
    body = re.sub(r"font(-family)?: [^;\"]*?(, sans-serif)", "font-family: inherit", body)
    for color, variable in _VARIABLES.items():
        body = body.replace(color, f"var(--{variable})")
    width = f"max-width: {widest:.0f}px" if widest else ""
    opening = Markup('<svg role="img" aria-label="{}" style="{}"').format(says, width)
    size = r'<svg [^>]*?viewBox="([^"]*)"[^>]*>'
    return Markup(re.sub(size, lambda m: f'{opening} viewBox="{m[1]}">', body, count=1))
