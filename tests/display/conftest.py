"""The diagrams of the introductory notebook, and where their text stands byte for byte."""

from pathlib import Path

import pytest

from modularml.display.spec import EdgeSpec, GraphSpec, NodeSpec, Section

COLUMNS = (
    Section(heading="features", rows=("voltage.raw: (10,)",)),
    Section(heading="targets", rows=("soh.raw: ()",)),
)
KEYS = (Section(heading="features", rows=("voltage",)), Section(heading="targets", rows=("soh",)))


def split(id: str, name: str, n: int, other: str) -> NodeSpec:
    overlap = (Section(heading="overlap", rows=(f"{other}: 0",)),)
    return NodeSpec(
        id=id, kind="FeatureSetView", title="Split", name=name, lines=(f"n={n}",), blocks=(COLUMNS, overlap)
    )


def sensor_data(id: str) -> NodeSpec:
    lines = ("n=500", "splits: train, test")
    return NodeSpec(id=id, kind="FeatureSet", title="FeatureSet", name="SensorData", lines=lines)


def mlp(kind: str = "ModelNode", *blocks: tuple[Section, ...]) -> NodeSpec:
    return NodeSpec(id="n0", kind=kind, title="ModelNode", name="MLP", note="<torch>", blocks=blocks)


def terminal(id: str) -> NodeSpec:
    return NodeSpec(id=id, kind="OutputTerminal", shape="circle")


def loss(id: str) -> NodeSpec:
    return NodeSpec(
        id=id, kind="AppliedLoss", title="AppliedLoss", name="mse", lines=("loss: mse",), shape="stadium"
    )


FEATURE_SET = GraphSpec(
    title="FeatureSet 'SensorData'",
    nodes=(
        NodeSpec(
            id="n0",
            kind="FeatureSet",
            title="FeatureSet",
            name="SensorData",
            lines=("n=500",),
            blocks=(COLUMNS,),
        ),
        split("n1", "train", 400, "test"),
        split("n2", "test", 100, "train"),
    ),
    edges=(
        EdgeSpec(id="e0", source="n0", target="n1", label="n=400"),
        EdgeSpec(id="e1", source="n0", target="n2", label="n=100"),
    ),
)

MODEL_GRAPH = GraphSpec(
    title="ModelGraph 'SimpleGraph'",
    nodes=(mlp(), sensor_data("n1"), terminal("n2")),
    edges=(
        EdgeSpec(id="e0", source="n1", target="n0", label="(1, 10)"),
        EdgeSpec(id="e1", source="n0", target="n2", label="(1, 1)"),
    ),
)

TRAIN_PHASE = GraphSpec(
    title="TrainPhase 'train'",
    nodes=(
        mlp("ModelNode", KEYS),
        sensor_data("n1"),
        terminal("n2"),
        NodeSpec(
            id="n3",
            kind="FeatureSampler",
            title="Sampler",
            lines=("SimpleSampler", "batch_size: 32", "split: train"),
        ),
        loss("n4"),
    ),
    edges=(
        EdgeSpec(id="e1", source="n0", target="n2", label="(1, 1)"),
        EdgeSpec(id="e2", source="n1", target="n3", label="split: train", animation="medium"),
        EdgeSpec(id="e3", source="n3", target="n0", label="(1, 10)", animation="medium"),
        EdgeSpec(id="e4", source="n4", target="n0", dotted=True),
    ),
)

EVAL_PHASE = GraphSpec(
    title="EvalPhase 'eval'",
    nodes=(mlp("ModelNodeFrozen", KEYS), sensor_data("n1"), terminal("n2"), loss("n3")),
    edges=(
        EdgeSpec(id="e0", source="n1", target="n0", label="(1, 10) split: test"),
        EdgeSpec(id="e1", source="n0", target="n2", label="(1, 1)"),
        EdgeSpec(id="e2", source="n3", target="n0", dotted=True),
    ),
)

DIAGRAMS = {
    "feature_set": FEATURE_SET,
    "model_graph": MODEL_GRAPH,
    "train_phase": TRAIN_PHASE,
    "eval_phase": EVAL_PHASE,
}
EXPECTED = Path(__file__).parent / "expected"


@pytest.fixture(params=DIAGRAMS)
def diagram_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def spec(diagram_name: str) -> GraphSpec:
    """Each diagram of the introductory notebook in turn."""
    return DIAGRAMS[diagram_name]


@pytest.fixture
def expected_mermaid(diagram_name: str) -> str:
    """The text that the notebook shows for `spec`."""
    return (EXPECTED / f"{diagram_name}.mmd").read_text(encoding="utf-8").rstrip("\n")
