"""Matplotlib figures as SVG elements, in the colors and the font of the page."""

import hashlib
import io
import re
import warnings
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

NUM_COLORS = 6  # to tell runs or towers apart
DASHES = ("solid", "dashed", "dotted")  # for more runs than colors; CSS has the same names

# Placeholder colors: `inline` replaces each by a CSS variable, which is light or dark.
TEXT, MUTED, BORDER, ACCENT, BACKGROUND = "#010203", "#020304", "#030405", "#040506", "#050607"
VARIABLES = {TEXT: "text", MUTED: "muted", BORDER: "border", ACCENT: "accent"}
VARIABLES |= {BACKGROUND: "background"}
VARIABLES |= {f"#0607{i:02x}": f"series-{i}" for i in range(NUM_COLORS)}

STYLE: Any = {  # matplotlib's types want each key's name
    "svg.fonttype": "none",
    "font.size": 11,
    "text.color": TEXT,
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), BORDER),
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), MUTED),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    "grid.linewidth": 0.6,
}


def series(number: int) -> str:
    """The color of a run or a tower."""
    return f"#0607{number % NUM_COLORS:02x}"


def dash(number: int) -> str:
    """The line style of a run, which differs between runs of the same color."""
    return DASHES[number // NUM_COLORS % len(DASHES)]


def figure(width: float, height: float, constrained: bool = True) -> Figure:
    """A figure of `width` × `height` pixels at its natural size."""
    return Figure(figsize=(width / 72, height / 72), layout="constrained" if constrained else None)


def inline(figure: Figure, description: str, max_width: float | None = None) -> Markup:
    """The figure as an SVG element that fills the width of its container.

    Args:
      description: what it shows, for screen readers.
      max_width: in pixels; unlimited by default.
    """
    text = io.StringIO()
    salt = hashlib.sha256(description.encode()).hexdigest()[:8]  # keeps ids unique in the page
    with matplotlib.rc_context({"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing")  # the browser's fonts have it
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    body = text.getvalue()
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # these ids are numbered from 1 in each figure
    body = re.sub(r"font(-family)?: [^;\"]*?(, sans-serif)", "font-family: inherit", body)
    for color, variable in VARIABLES.items():
        body = body.replace(color, f"var(--{variable})")
    style = f"max-width: {max_width:.0f}px" if max_width else ""
    opening = Markup('<svg role="img" aria-label="{}" style="{}"').format(description, style)
    size = r'<svg [^>]*?viewBox="([^"]*)"[^>]*>'
    return Markup(re.sub(size, lambda m: f'{opening} viewBox="{m[1]}">', body, count=1))
