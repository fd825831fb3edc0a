"""Where the boxes and arrows of a left-to-right diagram go.

It knows sizes and arrows only, no text and no colour. Layers by longest path, order
by barycentre, heights by least squares (Sugiyama's scheme).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import fmean

BOX_GAP = 26.0
LAYER_GAP = 56.0
LANE = 22.0  # height of an arrow that passes a layer, and between the arrows of one side
LABEL_MARGIN = 22.0
ORDER_SWEEPS = 8
HEIGHT_SWEEPS = 60

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """An arrow to be laid: from which box to which, and how wide its label is (0: none)."""

    source: str
    target: str
    label_width: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything went; lengths in pixels, y grows downwards.

    Attributes:
        size: Width and height of the whole.
        boxes: Box -> x and y of its upper left corner.
        routes: For each arrow the points it passes; from each to the next it runs in
            an S, or straight where both lie at one height.
        labels: For each arrow the middle of its label.
    """

    size: Point
    boxes: dict[str, Point]
    routes: list[list[Point]]
    labels: list[Point]


def lay_out(sizes: Mapping[str, Point], arrows: Sequence[Arrow]) -> Layout:
    """Lay out boxes of the given (width, height) and the arrows between them."""
    return _Drawing(sizes, arrows).layout()


class _Drawing:
    """A layout in the making: each step reads what the steps before it found."""

    def __init__(self, sizes: Mapping[str, Point], arrows: Sequence[Arrow]) -> None:
        self.sizes = sizes
        self.arrows = arrows
        self.layer_of = _layers(list(sizes), arrows)
        self.chains = [self._chain(i, arrow) for i, arrow in enumerate(arrows)]
        self.neighbours: dict[str, list[str]] = defaultdict(list)
        for chain in self.chains:
            for left, right in pairwise(chain):
                self.neighbours[left].append(right)
                self.neighbours[right].append(left)
        self.layers = self._ordered()
        self.middles = self._middles()
        self.columns = self._columns()

    def layout(self) -> Layout:
        """Return what was found, moved so that its uppermost part is at y = 0."""
        boxes = {
            name: (self._centre(name) - width / 2, self.middles[name] - height / 2)
            for name, (width, height) in self.sizes.items()
        }
        routes = self._routes()
        labels = self._labels(routes)
        reach = [(y, y + self.sizes[name][1]) for name, (_, y) in boxes.items()]
        reach += [(y - LANE / 2, y + LANE / 2) for points in [*routes, labels] for _, y in points]
        top = min((upper for upper, _ in reach), default=0.0)
        return Layout(
            size=(
                max((right for _, right in self.columns), default=0.0),
                max((y for _, y in reach), default=0.0) - top,
            ),
            boxes={name: (x, y - top) for name, (x, y) in boxes.items()},
            routes=[[(x, y - top) for x, y in route] for route in routes],
            labels=[(x, y - top) for x, y in labels],
        )

    def _chain(self, i: int, arrow: Arrow) -> list[str]:
        """Return what an arrow runs through: its source, a lane in each layer between, its target."""
        between = range(self.layer_of[arrow.source] + 1, self.layer_of[arrow.target])
        lanes = [f"{i}/{layer}" for layer in between]
        self.layer_of |= dict(zip(lanes, between, strict=True))
        return [arrow.source, *lanes, arrow.target]

    def _ordered(self) -> list[list[str]]:
        """Return the members of each layer from top to bottom, with few crossings."""
        layers: list[list[str]] = [[] for _ in range(max(self.layer_of.values(), default=-1) + 1)]
        for name, layer in self.layer_of.items():
            layers[layer].append(name)
        best, fewest = layers, self._crossings(layers)
        for sweep in range(ORDER_SWEEPS):
            if not fewest:
                break
            step = 1 if sweep % 2 == 0 else -1
            layers = [*layers]
            for layer in range(len(layers))[::step]:
                beside = layers[layer - step] if 0 <= layer - step < len(layers) else []
                layers[layer] = self._by_barycentre(layers[layer], beside)
            crossings = self._crossings(layers)
            if crossings < fewest:
                best, fewest = layers, crossings
        return best

    def _by_barycentre(self, members: list[str], beside: list[str]) -> list[str]:
        place = {name: i for i, name in enumerate(beside)}
        barycentre = {}
        for i, name in enumerate(members):
            places = [place[n] for n in self.neighbours[name] if n in place]
            barycentre[name] = fmean(places) if places else i
        return sorted(members, key=barycentre.__getitem__)

    def _crossings(self, layers: list[list[str]]) -> int:
        place = {name: i for members in layers for i, name in enumerate(members)}
        links: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for chain in self.chains:
            for left, right in pairwise(chain):
                links[self.layer_of[left]].append((place[left], place[right]))
        return sum((a - c) * (b - d) < 0 for pairs in links.values() for a, b in pairs for c, d in pairs) // 2

    def _middles(self) -> dict[str, float]:
        """Return the height of the middle of each box and lane: near the mean of its neighbours."""
        height = dict.fromkeys(self.layer_of, LANE) | {name: h for name, (_, h) in self.sizes.items()}
        y = dict.fromkeys(self.layer_of, 0.0)
        for sweep in range(HEIGHT_SWEEPS):
            for members in self.layers if sweep % 2 == 0 else self.layers[::-1]:
                wanted = [fmean([y[n] for n in self.neighbours[name]] or [y[name]]) for name in members]
                apart = [(height[above] + height[below]) / 2 + BOX_GAP for above, below in pairwise(members)]
                pull = [len(self.neighbours[name]) or 1 for name in members]
                y |= zip(members, _spread(wanted, apart, pull), strict=True)
        return y

    def _columns(self) -> list[Point]:
        """Return the left and right edge of each layer; the gaps are as wide as the labels in them."""
        gaps = [LAYER_GAP] * len(self.layers)
        for arrow in self.arrows:
            layer = self.layer_of[arrow.source]
            if arrow.label_width:
                gaps[layer] = max(gaps[layer], arrow.label_width + 2 * LABEL_MARGIN)
        columns, x = [], 0.0
        for members, gap in zip(self.layers, gaps, strict=True):
            width = max((self.sizes[name][0] for name in members if name in self.sizes), default=0.0)
            columns.append((x, x + width))
            x += width + gap
        return columns

    def _centre(self, name: str) -> float:
        return fmean(self.columns[self.layer_of[name]])

    def _ports(self) -> dict[tuple[int, int], float]:
        """Return at what height each arrow leaves (i, 0) and enters (i, -1) its boxes."""
        sides: dict[tuple[str, int], list[int]] = defaultdict(list)
        for i, arrow in enumerate(self.arrows):
            sides[arrow.source, 0].append(i)
            sides[arrow.target, -1].append(i)
        ports = {}
        for (name, end), members in sides.items():
            members.sort(key=lambda i: self.middles[self.chains[i][1 if end == 0 else -2]])
            pitch = min(LANE, self.sizes[name][1] / (len(members) + 1))
            for place, i in enumerate(members):
                ports[i, end] = self.middles[name] + (place - (len(members) - 1) / 2) * pitch
        return ports

    def _routes(self) -> list[list[Point]]:
        ports = self._ports()
        routes = []
        for i, (source, *between, target) in enumerate(self.chains):
            start = (self._centre(source) + self.sizes[source][0] / 2, ports[i, 0])
            end = (self._centre(target) - self.sizes[target][0] / 2, ports[i, -1])
            lanes = [(x, self.middles[lane]) for lane in between for x in self.columns[self.layer_of[lane]]]
            routes.append([start, *lanes, end])
        return routes

    def _labels(self, routes: list[list[Point]]) -> list[Point]:
        """Return the middle of each label: on the first bend of its arrow, clear of the others there."""
        labels = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b, *_ in routes]
        gaps: dict[int, list[int]] = defaultdict(list)
        for i, arrow in enumerate(self.arrows):
            if arrow.label_width:
                gaps[self.layer_of[arrow.source]].append(i)
        for members in gaps.values():
            members.sort(key=lambda i: labels[i][1])
            spread = _spread([labels[i][1] for i in members], [LANE] * (len(members) - 1), [1] * len(members))
            for i, y in zip(members, spread, strict=True):
                labels[i] = (labels[i][0], y)
        return labels


def _layers(names: list[str], arrows: Sequence[Arrow]) -> dict[str, int]:
    """Return the layer of each box: one more than the last of those that point to it."""
    after: dict[str, list[str]] = defaultdict(list)
    for arrow in arrows:
        after[arrow.source].append(arrow.target)
    order: list[str] = []  # reverse topological; an arrow that closes a cycle is passed over
    seen: set[str] = set()

    def visit(root: str) -> None:
        stack: list[tuple[str, Iterator[str]]] = [(root, iter(after[root]))]
        seen.add(root)
        while stack:
            name, targets = stack[-1]
            target = next((t for t in targets if t not in seen), None)
            if target is None:
                stack.pop()
                order.append(name)
            else:
                seen.add(target)
                stack.append((target, iter(after[target])))

    for name in names:
        if name not in seen:
            visit(name)
    rank = {name: -i for i, name in enumerate(order)}
    layer = dict.fromkeys(names, 0)
    for name in reversed(order):
        for target in after[name]:
            if rank[target] > rank[name]:
                layer[target] = max(layer[target], layer[name] + 1)
    pointed_at = {arrow.target for arrow in arrows}
    for name in names:  # what starts late stands next to what it points to
        if name not in pointed_at and after[name]:
            layer[name] = min(layer[target] for target in after[name]) - 1
    return layer


def _spread(wanted: Sequence[float], apart: Sequence[float], pull: Sequence[int]) -> list[float]:
    """Return the positions nearest to `wanted` (least squares) that keep order and distance.

    Args:
        wanted: Where each would like to be.
        apart: The least distance between each and the next.
        pull: The weight of each wish.
    """
    offset = list(accumulate(apart, initial=0.0))
    blocks: list[tuple[float, int, int]] = []  # mean, weight, members: pool adjacent violators
    for want, shift, weight in zip(wanted, offset, pull, strict=True):
        mean, members = want - shift, 1
        while blocks and blocks[-1][0] > mean:
            other, w, n = blocks.pop()
            mean, weight, members = (mean * weight + other * w) / (weight + w), weight + w, members + n
        blocks.append((mean, weight, members))
    pooled = [mean for mean, _, members in blocks for _ in range(members)]
    return [mean + shift for mean, shift in zip(pooled, offset, strict=True)]
