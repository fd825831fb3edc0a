"""Whatever the graph, boxes keep apart and arrows run from box to box, left to right."""

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from modularml.display.layout import LANE, Arrow, lay_out

NAMES = [f"n{i}" for i in range(9)]


@st.composite
def graphs(draw, acyclic=True):
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    sides = st.floats(10, 300)
    sizes = {name: (draw(sides), draw(sides)) for name in names}
    pairs = st.tuples(st.sampled_from(names), st.sampled_from(names))
    if acyclic:
        pairs = pairs.map(lambda p: tuple(sorted(p, key=names.index))).filter(lambda p: p[0] != p[1])
    edges = draw(st.lists(pairs, max_size=14)) if len(names) > 1 else []
    widths = st.sampled_from([0.0, 40.0, 120.0])
    return sizes, [Arrow(source=a, target=b, label_width=draw(widths)) for a, b in edges]


def overlap(a, b):
    return all(
        low_a < high_b - 1e-6 and low_b < high_a - 1e-6
        for (low_a, high_a), (low_b, high_b) in zip(a, b, strict=True)
    )


@given(graphs(acyclic=False))
def test_boxes_never_overlap_and_everything_is_inside(graph):
    sizes, arrows = graph
    layout = lay_out(sizes, arrows)
    areas = [((x, x + sizes[name][0]), (y, y + sizes[name][1])) for name, (x, y) in layout.boxes.items()]
    assert not any(overlap(a, b) for a, b in combinations(areas, 2))
    width, height = layout.size
    for (left, right), (top, bottom) in areas:
        assert -1e-6 <= left < right <= width + 1e-6
        assert -1e-6 <= top < bottom <= height + 1e-6
    assert all(-1e-6 <= y <= height + 1e-6 for points in [*layout.routes, layout.labels] for _, y in points)


@given(graphs())
def test_arrows_run_rightwards_from_side_to_side(graph):
    sizes, arrows = graph
    layout = lay_out(sizes, arrows)
    for arrow, route in zip(arrows, layout.routes, strict=True):
        (x0, y0), (x1, y1) = layout.boxes[arrow.source], layout.boxes[arrow.target]
        start, end = route[0], route[-1]
        assert abs(start[0] - (x0 + sizes[arrow.source][0])) < 1e-6
        assert abs(end[0] - x1) < 1e-6
        assert y0 <= start[1] <= y0 + sizes[arrow.source][1]
        assert y1 <= end[1] <= y1 + sizes[arrow.target][1]
        assert all(a[0] <= b[0] for a, b in pairwise(route))


@given(graphs())
def test_arrows_pass_between_boxes_not_through_them(graph):
    sizes, arrows = graph
    layout = lay_out(sizes, arrows)
    for route in layout.routes:
        for (x0, y0), (x1, y1) in pairwise(route[1:-1]):
            if y0 == y1:
                lane = ((x0, x1), (y0 - LANE / 2, y0 + LANE / 2))
                for name, (x, y) in layout.boxes.items():
                    assert not overlap(lane, ((x, x + sizes[name][0]), (y, y + sizes[name][1])))


@given(graphs())
def test_labels_of_one_gap_keep_apart(graph):
    sizes, arrows = graph
    layout = lay_out(sizes, arrows)
    labelled = [
        (layout.boxes[arrow.source][0] + sizes[arrow.source][0] / 2, label[1])
        for arrow, label in zip(arrows, layout.labels, strict=True)
        if arrow.label_width
    ]
    for (column_a, y_a), (column_b, y_b) in combinations(labelled, 2):
        if abs(column_a - column_b) < 1e-6:
            assert abs(y_a - y_b) >= LANE - 1e-6


def test_a_chain_is_straight_and_a_loss_stands_next_to_its_model():
    sizes = {"data": (80.0, 60.0), "sampler": (80.0, 50.0), "model": (90.0, 70.0), "loss": (60.0, 40.0)}
    arrows = [Arrow(source="data", target="sampler"), Arrow(source="sampler", target="model")]
    layout = lay_out(sizes, arrows)
    assert all(abs(route[0][1] - route[-1][1]) < 1e-6 for route in layout.routes)
    sizes["end"] = (20.0, 20.0)
    arrows += [Arrow(source="loss", target="model"), Arrow(source="model", target="end")]
    layout = lay_out(sizes, arrows)
    assert abs(layout.routes[-1][0][1] - layout.routes[-1][1][1]) < 0.1
    centre = {name: x + sizes[name][0] / 2 for name, (x, _) in layout.boxes.items()}
    assert centre["loss"] == centre["sampler"]
