"""One look for all figures: the palette, the fonts, and files for light and dark screens."""

import hashlib
import io
import itertools
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.colors import get_named_colors_mapping
from matplotlib.figure import Figure

PALETTE = {  # on light and on dark; the series differ for color-blind readers as well
    "background": ("#ffffff", "#14161a"),
    "text": ("#16181d", "#eceef1"),
    "muted": ("#5d6470", "#a2a9b4"),
    "border": ("#d9dde3", "#353a43"),
    "accent": ("#c2185b", "#ff78a8"),
    "series-0": ("#0a5cec", "#1f96fd"),
    "series-1": ("#9a4200", "#f09a58"),
    "series-2": ("#18874c", "#4eeba9"),
    "series-3": ("#9027aa", "#c892e0"),
    "series-4": ("#174b4f", "#a4e0ec"),
    "series-5": ("#d12b8a", "#e74b97"),
}
NUM_COLORS = 6  # to tell runs or towers apart
DASHES = ("solid", "dashed", "dotted")  # for more runs than colors; CSS has the same names
FORMATS = ("svg", "pdf", "png")

# Matplotlib knows the colors by these names, which `_use` gives their light or dark values.
BACKGROUND, TEXT, MUTED, BORDER, ACCENT = (f"figure:{name}" for name in list(PALETTE)[:5])

STYLE: Any = {  # matplotlib's types want each key's name
    "svg.fonttype": "none",
    **dict.fromkeys(("savefig.facecolor", "axes.facecolor"), BACKGROUND),
    "savefig.dpi": 200,
    "font.size": 11,
    "text.color": TEXT,
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), BORDER),
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), MUTED),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    "grid.linewidth": 0.6,
}


def _use(*, dark: bool) -> None:
    names = get_named_colors_mapping()
    for name, shades in PALETTE.items():
        names[f"figure:{name}"] = shades[dark]


_use(dark=False)


def series(number: int) -> str:
    """The color of a run, a variant or a tower."""
    return f"figure:series-{number % NUM_COLORS}"


def dash(number: int) -> str:
    """The line style of a run, which differs between runs of the same color."""
    return DASHES[number // NUM_COLORS % len(DASHES)]


def spread(count: int, most: int) -> np.ndarray:
    """The indices of at most `most` of `count` points of a curve, with both ends."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def css(dark: bool) -> str:
    """The palette as CSS variables."""
    return " ".join(f"--{name}: {shades[dark]};" for name, shades in PALETTE.items())


def figure(width: float, height: float, constrained: bool = True) -> Figure:
    """A figure of `width` × `height` pixels at its natural size."""
    return Figure(figsize=(width / 72, height / 72), layout="constrained" if constrained else None)


def write(draw: Callable[[], Figure], stem: Path, formats: Sequence[str]) -> list[Path]:
    """Writes the figure that `draw` draws.

    STEM.svg suits light and dark screens; of PDF and PNG there are STEM.* and STEM-dark.*.

    Returns:
      The paths of the files.
    """
    paths = []
    stem.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        for suffix, dark in itertools.product(formats, (False, True)):
            path = stem.with_name(f"{stem.name}{'-dark' * dark}.{suffix}")
            if suffix == "svg" and dark:
                continue
            _use(dark=dark)
            drawn = draw()
            if suffix == "svg":
                path.write_text(_standalone(drawn), encoding="utf-8")
            else:
                _save(drawn, path)
            paths.append(path)
    _use(dark=False)
    return paths


def inline(figure: Figure, description: str, max_width: float | None = None) -> Markup:
    """The figure as an SVG element that fills the width of its container, for a page with `css`.

    Args:
      description: what it shows, for screen readers.
      max_width: in pixels; unlimited by default.
    """
    style = f"max-width: {max_width:.0f}px" if max_width else ""
    figure.set_label(description)
    element = _element(figure, f'style="{style}"', transparent=True)
    for name, (light, _) in PALETTE.items():
        element = element.replace(light, f"var(--{name})")
    return Markup(element)


def _standalone(figure: Figure) -> str:
    """The figure as an SVG file, in light colors, and in dark ones where the reader's screen is."""
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    attributes = f'{namespaces} width="{width}" height="{height}"'
    opening, body = _element(figure, attributes, transparent=False).split(">", 1)
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in PALETTE.values()
        for kind in ("fill", "stroke")
        if f"{kind}: {light}" in body
    )
    font = "svg{font-family:system-ui,sans-serif}"
    return f"{opening}><style>{font}@media (prefers-color-scheme:dark){{{rules}}}</style>{body}\n"


def _save(figure: Figure, target: Path | io.StringIO, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing")  # SVG: the reader's fonts have it
        figure.savefig(target, **options)


def _element(figure: Figure, attributes: str, *, transparent: bool) -> str:
    """The figure as an SVG element, with its label as description."""
    description = str(figure.get_label())
    text = io.StringIO()
    salt = hashlib.sha256(description.encode()).hexdigest()[:8]  # keeps ids unique in a page
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        _save(figure, text, format="svg", transparent=transparent, metadata={"Date": None})
    body = text.getvalue()
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # these ids are numbered from 1 in each figure
    body = re.sub(r"font(-family)?: [^;\"]*?(, sans-serif)", "font-family: inherit", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r"\s+", " ", body).replace("> <", ">\n<")
    body = re.sub(r"(\d\.\d\d)\d+(?=[^<>]*>)", r"\1", body)  # coordinates, but no text
    opening = Markup('<svg role="img" aria-label="{}" {}').format(description, Markup(attributes))
    size = r'<svg [^>]*?viewBox="([^"]*)"[^>]*>'
    return re.sub(size, lambda m: f'{opening} viewBox="{m[1]}">', body, count=1)
