"""Figure 2: the network, drawn from what `network.describe` returns.

Boxes are as long as they have maps and as high as the maps are, by square roots, so that the small
ones can be seen.
"""

import math
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from . import svg
from .network import Layer, Network, Shape

Point = tuple[float, float]

HEIGHT, LENGTH = 76.0, 50.0  # of the largest box
SLANT = (0.30, 0.22)  # how far its back is to the right and up, of its height
BESIDE = 138.0  # for the words about a layer, where they are beside it
LINE, PITCH = 15.5, 124.0  # from one line of words, and one layer, to the next
SIZE = 12.0  # of words
BEHIND = {"facecolor": svg.PAPER, "edgecolor": "none", "pad": 0.8}  # words that lines may cross


@dataclass(frozen=True)
class _Box:
    """A cuboid seen from the front, the right and above; (x, y) is the middle of its front."""

    x: float
    y: float
    length: float
    height: float

    @property
    def bottom(self) -> float:
        return self.y - self.height / 2

    def draw(self, axes: Axes, color: str) -> None:
        left, right = self.x - self.length / 2, self.x + self.length / 2
        low, high = self.bottom, self.y + self.height / 2
        dx, dy = self.height * SLANT[0], self.height * SLANT[1]
        front = [(left, low), (right, low), (right, high), (left, high)]
        top = [(left, high), (right, high), (right + dx, high + dy), (left + dx, high + dy)]
        side = [(right, low), (right, high), (right + dx, high + dy), (right + dx, low + dy)]
        for face, alpha in ((front, 0.3), (top, 0.15), (side, 0.45)):
            axes.add_patch(Polygon(face, facecolor=svg.PAPER, zorder=2))
            axes.add_patch(Polygon(face, facecolor=color, alpha=alpha, zorder=2))
            axes.add_patch(Polygon(face, fill=False, edgecolor=color, linewidth=0.9, zorder=2))

    def draw_kernel(self, axes: Axes, share: float) -> list[Point]:
        """What a kernel sees at one place, on the right side; the two corners of its far edge."""
        middle = self.x + self.length / 2 + self.height * SLANT[0] / 2
        level = self.y + self.height * SLANT[1] / 2
        up, dx, dy = (share * self.height * part / 2 for part in (1, *SLANT))
        near = [(middle - dx, level - dy + up), (middle - dx, level - dy - up)]
        far = [(middle + dx, level + dy - up), (middle + dx, level + dy + up)]
        axes.add_patch(Polygon(near + far, facecolor=svg.PAPER, alpha=0.7, zorder=3))
        axes.add_patch(Polygon(near + far, fill=False, edgecolor=svg.INK, lw=0.8, zorder=3))
        return far


class _Sheet:
    """Where everything goes: layers from left to right, towers one above the other; or turned."""

    def __init__(self, network: Network, vertical: bool):
        count, towers = len(network.layers), network.towers
        self.vertical = vertical
        words = max(len(_words(layer)) for layer in network.layers) * LINE + 12
        self.pitch = max(PITCH, words) if vertical else PITCH
        if vertical:
            self.width = max(360.0, BESIDE + 112 * towers)
            self.height = self.pitch * (count + 1)
            self.middle = (BESIDE + self.width) / 2
        else:
            self.width = self.pitch * (count + 1) - 6
            self.height = 126.0 * towers + words + 8
            self.middle = self.height - 8 - 63.0 * towers
            self.words = self.height - 16 - 126.0 * towers
        self._towers, self._tallest = towers, network.image[0]
        self._longest = max(layer.preactivation[-1] for layer in network.layers if layer.size)

    def place(self, layer: int, tower: float) -> Point:
        beside = tower - (self._towers - 1) / 2
        if self.vertical:
            return self.middle - 8 + 112 * beside, self.height - 60 - self.pitch * layer
        return 54.0 + self.pitch * layer, self.middle - 126 * beside

    def box(self, layer: int, tower: float, shape: Shape) -> _Box:
        x, y = self.place(layer, tower)
        if len(shape) == 1:
            return _Box(x, y, 66, 9) if self.vertical else _Box(x, y, 9, HEIGHT * 0.9)
        length = LENGTH * math.sqrt(min(1, shape[-1] / self._longest))
        return _Box(x, y, max(length, 4), max(HEIGHT * math.sqrt(shape[0] / self._tallest), 8))

    def entry(self, box: _Box) -> Point:
        if self.vertical:
            return box.x + box.height * SLANT[0] / 2, box.y + box.height * (0.5 + SLANT[1] / 2)
        return box.x - box.length / 2, box.y


def draw(network: Network, *, vertical: bool) -> Markup:
    """The network as SVG: for a screen, or vertical for a phone."""
    sheet = _Sheet(network, vertical)
    drawn = svg.figure(sheet.width, sheet.height, constrained=False)
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, sheet.width), ylim=(0, sheet.height))
    axes.axis("off")

    image = sheet.box(0, (network.towers - 1) / 2, network.image)
    image.draw(axes, svg.QUIET)
    _label(axes, image, network.image)
    before = [image] * network.towers
    for number, layer in enumerate(network.layers, start=1):
        boxes = [sheet.box(number, tower, layer.preactivation) for tower in range(network.towers)]
        for tower, box in enumerate(boxes):
            for other, source in enumerate(before):
                if other == tower or layer.received:
                    _connect(axes, sheet, layer, source, box, crosses=other != tower)
        for tower, box in enumerate(boxes):
            box.draw(axes, svg.series(tower))
            _label(axes, box, layer.preactivation)
        before = boxes
        _write(axes, sheet, number, layer)
    if network.towers > 1:
        for tower in range(network.towers):
            x, y = sheet.place(1, tower)
            words: dict[str, Any] = {"color": svg.series(tower), "weight": "bold"}
            words |= {"ha": "center", "bbox": BEHIND, "zorder": 5}
            axes.text(x, y + 47, f"tower {tower + 1}", **words)
    says = f"{len(network.layers)} layers in {network.towers} towers"
    return svg.inline(drawn, says, widest=1.3 * sheet.width)


def _connect(
    axes: Axes, sheet: _Sheet, layer: Layer, source: _Box, box: _Box, *, crosses: bool
) -> None:
    """Leads what a kernel sees, or all of a box, to a box of the next layer."""
    x, y = sheet.entry(box)
    if layer.size and not sheet.vertical:
        starts = source.draw_kernel(axes, max(0.12, min(1, layer.size / layer.input[0])))
    elif sheet.vertical:
        starts = [(source.x, source.bottom)]
    else:
        right, back = source.x + source.length / 2, source.height
        starts = [(right + back * SLANT[0], source.y + back * SLANT[1] / 2)]
    for start in starts:
        color, width = (svg.ACCENT, 1.3) if crosses else (svg.QUIET, 0.8)
        axes.plot((start[0], x), (start[1], y), color=color, lw=width, zorder=1 + 3 * crosses)


def _label(axes: Axes, box: _Box, shape: Shape) -> None:
    text = " × ".join(f"{n:,}" for n in shape)
    place = (box.x + box.height * SLANT[0] / 2, box.bottom - 14)
    axes.text(*place, text, ha="center", size=SIZE, zorder=5, bbox=BEHIND)


def _words(layer: Layer) -> list[tuple[str, str]]:
    """What is to say of a layer, in lines, each with its color."""
    lines = [(layer.name, svg.INK), (f"{layer.parameters:,}", svg.INK), ("parameters", svg.INK)]
    if layer.received:
        lines += [("input: all towers", svg.ACCENT), (f"{layer.received:,} cross", svg.ACCENT)]
    for text in filter(None, (layer.kernel, *layer.followed_by)):
        lines.append((text, svg.QUIET))
        if text == "normalize" and layer.normalized:
            lines.append((f"{math.prod(layer.normalized):,} cross", svg.ACCENT))
    if layer.output != layer.preactivation:
        lines.append(("→ " + " × ".join(f"{n:,}" for n in layer.output), svg.QUIET))
    return lines


def _write(axes: Axes, sheet: _Sheet, number: int, layer: Layer) -> None:
    lines = _words(layer)
    x, y = sheet.place(number, 0)
    top = y + LINE * (len(lines) - 1) / 2 - 3 if sheet.vertical else sheet.words
    for line, (text, color) in enumerate(lines):
        at = (4 if sheet.vertical else x + 6, top - LINE * line)
        style: dict[str, Any] = {"ha": "left" if sheet.vertical else "center", "size": SIZE}
        if line == 0:
            style |= {"size": 13.5, "weight": "bold"}
        axes.text(*at, text, color=color, **style)
