"""Figure 2: the network, drawn from what `layers.describe` returns.

The length of a box shows the number of maps and its height their size. Both are square roots, so
that small boxes stay visible.
"""

import math
import textwrap
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from . import theme
from .layers import Layer, Network, Shape

Point = tuple[float, float]

HEIGHT, LENGTH = 84.0, 56.0  # of the largest box
SLANT = (0.30, 0.22)  # shift of a box's back to the right and up, as shares of its height
CAPTION_WIDTH = 138.0  # of the captions beside the layers of a vertical drawing
LAYER_PITCH, TOWER_PITCH, VERTICAL_TOWER_PITCH = 132.0, 140.0, 112.0
TEXT_BOX = {
    "facecolor": theme.BACKGROUND,
    "edgecolor": "none",
    "pad": 0.8,
}  # hides lines behind text


class _Box:
    """A cuboid seen from the front, the right and above; (x, y) is the middle of its front."""

    def __init__(self, x: float, y: float, length: float, height: float):
        self.x, self.y = x, y
        self.left, self.right = x - length / 2, x + length / 2
        self.bottom, self.top = y - height / 2, y + height / 2
        self.dx, self.dy = height * SLANT[0], height * SLANT[1]  # from the front to the back

    def draw(self, axes: Axes, color: str) -> None:
        left, right, low, high = self.left, self.right, self.bottom, self.top
        back_right, back_low, back_high = right + self.dx, low + self.dy, high + self.dy
        front = [(left, low), (right, low), (right, high), (left, high)]
        top = [(left, high), (right, high), (back_right, back_high), (left + self.dx, back_high)]
        side = [(right, low), (right, high), (back_right, back_high), (back_right, back_low)]
        for face, alpha in ((front, 0.3), (top, 0.15), (side, 0.45)):
            axes.add_patch(Polygon(face, facecolor=theme.BACKGROUND, zorder=2))
            fill = (color, alpha)
            axes.add_patch(Polygon(face, facecolor=fill, edgecolor=color, lw=0.9, zorder=2))

    def label(self, axes: Axes, shape: Shape, size: float, *, above: bool) -> None:
        y = self.top + self.dy + size / 2 if above else self.bottom - 1.3 * size
        style: dict[str, Any] = {"ha": "center", "size": size, "zorder": 5, "bbox": TEXT_BOX}
        axes.text(self.x + self.dx / 2, y, _format_shape(shape), **style)

    def draw_window(self, axes: Axes, share: float) -> list[Point]:
        """Draws a kernel's window on the right side; returns the two corners of its far edge."""
        x, y = self.right + self.dx / 2, self.y + self.dy / 2
        up, dx, dy = (share * part / 2 for part in (self.top - self.bottom, self.dx, self.dy))
        near = [(x - dx, y - dy + up), (x - dx, y - dy - up)]
        far = [(x + dx, y + dy - up), (x + dx, y + dy + up)]
        fill = (theme.BACKGROUND, 0.7)
        axes.add_patch(Polygon(near + far, facecolor=fill, edgecolor=theme.TEXT, lw=0.8, zorder=3))
        return far


class _Layout:
    """The positions of all boxes and captions.

    Layers go from left to right and towers from top to bottom, or the other way round if vertical.
    """

    def __init__(self, network: Network, title: str, vertical: bool):
        count, towers = len(network.layers), network.towers
        self.vertical, self._towers = vertical, towers
        self.font, self.line = (12.0, 15.5) if vertical else (14.5, 19.0)
        captions = max(len(_caption(layer)) for layer in network.layers) * self.line + 12
        self._pitch = max(LAYER_PITCH, captions) if vertical else LAYER_PITCH
        self.width = self._pitch * (count + 1) - 6
        if vertical:
            self.width = max(360.0, CAPTION_WIDTH + VERTICAL_TOWER_PITCH * towers)
        self.title = textwrap.wrap(title, int(self.width / self.font))
        head = self.line * 1.5 * len(self.title) + 6 * bool(title)
        if vertical:
            self.height = self._pitch * (count + 1) + head
            self._middle = (CAPTION_WIDTH + self.width) / 2
        else:
            self.captions_top = captions - 16
            self.height = self.captions_top + TOWER_PITCH * towers + 44 + head
            self._middle = self.captions_top + 22 + TOWER_PITCH / 2 * towers
        self._top = self.height - head
        self._image_size = network.image[0]
        self._most_maps = max(layer.preactivation[-1] for layer in network.layers if layer.size)

    def position(self, layer: int, tower: float) -> Point:
        offset = tower - (self._towers - 1) / 2
        if self.vertical:
            x = self._middle - 8 + VERTICAL_TOWER_PITCH * offset
            return x, self._top - 60 - self._pitch * layer
        return 54.0 + self._pitch * layer, self._middle - TOWER_PITCH * offset

    def box(self, layer: int, tower: float, shape: Shape) -> _Box:
        x, y = self.position(layer, tower)
        if len(shape) == 1:
            return _Box(x, y, 66, 9) if self.vertical else _Box(x, y, 9, HEIGHT * 0.9)
        length = LENGTH * math.sqrt(min(1, shape[-1] / self._most_maps))
        return _Box(x, y, max(length, 4), max(HEIGHT * math.sqrt(shape[0] / self._image_size), 8))


def title(network: Network) -> str:
    """What the drawing shows, in a sentence."""
    if network.towers == 1:
        return "One tower: every layer sees all maps of the layer before"
    *others, last = [layer.name for layer in network.layers if layer.received] or [""]
    before = f"only before {', '.join(others)}{' and ' * bool(others)}{last}" if last else "nowhere"
    number = "Two" if network.towers == 2 else network.towers
    return f"{number} towers that exchange feature maps {before}"


def draw(network: Network, *, vertical: bool, title: str = "") -> Figure:
    """The network: horizontal for a screen, or vertical for a phone."""
    layout = _Layout(network, title, vertical)
    figure = theme.figure(layout.width, layout.height, constrained=False)
    figure.set_label(title or f"{len(network.layers)} layers in {network.towers} towers")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, layout.width), ylim=(0, layout.height))
    axes.axis("off")
    for number, line in enumerate(layout.title):
        style: dict[str, Any] = {"size": 1.4 * layout.font, "weight": "bold"}
        axes.text(6, layout.height - layout.line * 1.5 * (number + 0.9), line, **style)
    towers = range(network.towers)

    image = layout.box(0, (network.towers - 1) / 2, network.image)
    image.draw(axes, theme.MUTED)
    image.label(axes, network.image, layout.font, above=False)
    sources = [image] * network.towers
    for number, layer in enumerate(network.layers, start=1):
        boxes = [layout.box(number, tower, layer.preactivation) for tower in towers]
        for tower, box in enumerate(boxes):
            for other, source in enumerate(sources):
                if other == tower or layer.received:
                    _connect(axes, layout, layer, source, box, crosses=other != tower)
        for tower, box in enumerate(boxes):
            box.draw(axes, theme.series(tower))
            above = not vertical and tower == 0 and network.towers > 1  # no line crosses it there
            box.label(axes, layer.preactivation, layout.font, above=above)
        sources = boxes
        _draw_caption(axes, layout, number, layer)
    _name_towers(axes, layout, network)
    return figure


def inline(network: Network, *, vertical: bool) -> Markup:
    """The drawing, for a page that says around it what it shows."""
    figure = draw(network, vertical=vertical)
    return theme.inline(figure, str(figure.get_label()), max_width=1.3 * 72 * figure.get_figwidth())


def _name_towers(axes: Axes, layout: _Layout, network: Network) -> None:
    for tower in range(network.towers) if network.towers > 1 else ():
        x, y = layout.position(1, tower)
        style: dict[str, Any] = {"color": theme.series(tower), "weight": "bold", "ha": "center"}
        style |= {"size": 1.15 * layout.font, "bbox": TEXT_BOX, "zorder": 5}
        axes.text(x + 6, y + (47 if layout.vertical else 62), f"tower {tower + 1}", **style)
    if not layout.vertical:
        below = layout.captions_top - layout.line
        axes.text(6, below, "parameters", size=layout.font, color=theme.MUTED)


def _connect(
    axes: Axes, layout: _Layout, layer: Layer, source: _Box, box: _Box, *, crosses: bool
) -> None:
    """Draws lines from a box, or from a kernel's window on it, to a box of the next layer."""
    if layout.vertical:
        starts, end = [(source.x, source.bottom)], (box.x + box.dx / 2, box.top + box.dy / 2)
    else:
        starts, end = [(source.right + source.dx, source.y + source.dy / 2)], (box.left, box.y)
        if layer.size:
            starts = source.draw_window(axes, max(0.12, min(1, layer.size / layer.input[0])))
    color, width = (theme.ACCENT, 1.8) if crosses else (theme.MUTED, 0.9)
    for start in starts:
        axes.plot(*zip(start, end, strict=True), color=color, lw=width, zorder=1 + 3 * crosses)


def _format_shape(shape: Shape) -> str:
    return " × ".join(f"{n:,}" for n in shape)


def _caption(layer: Layer) -> list[tuple[str, str]]:
    """The lines of a layer's caption, each with its color."""
    lines = [(layer.name, theme.TEXT), (f"{layer.parameters:,}", theme.TEXT)]
    if layer.received:
        lines += [("← all towers", theme.ACCENT), (f"{layer.received:,} cross", theme.ACCENT)]
    for operation in layer.operations:
        lines.append((operation, theme.MUTED))
        if operation == "normalize" and layer.normalized:
            lines.append((f"{layer.normalized:,} cross", theme.ACCENT))
    if layer.output != layer.preactivation:
        lines.append((f"→ {_format_shape(layer.output)}", theme.MUTED))
    return lines


def _draw_caption(axes: Axes, layout: _Layout, number: int, layer: Layer) -> None:
    lines = _caption(layer)
    x, y = layout.position(number, 0)
    if layout.vertical:
        x, y, align = 4, y + layout.line * (len(lines) - 1) / 2 - 3, "left"
        lines[1] = (f"{lines[1][0]} parameters", theme.TEXT)
    else:
        x, y, align = x + 6, layout.captions_top, "center"
    for index, (text, color) in enumerate(lines):
        size, weight = layout.font * (1 if index else 1.15), "normal" if index else "bold"
        style: dict[str, Any] = {"ha": align, "size": size, "weight": weight}
        axes.text(x, y - layout.line * index, text, color=color, **style)
