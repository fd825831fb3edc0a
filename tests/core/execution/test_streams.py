import pytest
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.errors import LossError
from modularml.core.execution.streams import (
    DEFAULT_ROLE,
    InputName,
    input_name,
    label_and_role,
    part_of,
    parts_among,
    roles_among,
    stream_of,
)

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1)
ROLES = ["anchor", "pair"]
COLUMNS = {
    "targets": ("targets.soh.raw", "targets.temp.raw"),
    "tags": ("tags.w.raw", "tags.w.transformed"),
}


def named(domain: str, column: str | None, role: str) -> InputName:
    return InputName(domain=domain, column=column, role=role)


@given(NAMES, NAMES)
def test_a_stream_tells_its_label_and_role(label: str, role: str) -> None:
    assert label_and_role(stream_of(label, role)) == (label, role)
    assert stream_of(label) == stream_of(label, DEFAULT_ROLE) == label


@given(NAMES, NAMES, NAMES)
def test_a_stream_tells_its_part(label: str, role: str, part: str) -> None:
    stream = stream_of(label, role, part)
    assert (*label_and_role(stream), part_of(stream)) == (label, role, part)
    assert label_and_role(stream_of(label, part=part)) == (label, DEFAULT_ROLE)
    assert part_of(stream_of(label, role)) is None


def test_the_parts_of_a_label_are_named_once() -> None:
    streams = [stream_of("A", role, part) for role in ("x", "y") for part in ("p", "q")]
    assert (parts_among(streams, "A"), roles_among(streams, "A")) == (["p", "q"], ["x", "y"])
    assert parts_among([stream_of("A", "x")], "A") == []


@pytest.mark.parametrize(
    ("name", "roles", "output", "role"),
    [
        ("outputs.logits", [DEFAULT_ROLE], "logits", DEFAULT_ROLE),
        ("outputs.logits.pair", ROLES, "logits", "pair"),
        ("outputs.a.b", [DEFAULT_ROLE], "a.b", DEFAULT_ROLE),
    ],
)
def test_an_input_names_one_of_several_outputs(name: str, roles: list[str], output: str, role: str) -> None:
    found = input_name(name, roles, COLUMNS, "", ["logits", "a.b"])
    assert found == InputName(domain="outputs", column=None, role=role, output=output)


def test_the_name_of_a_single_output_may_be_left_out() -> None:
    assert input_name("outputs", [DEFAULT_ROLE], COLUMNS, "", ["logits"]).output == "logits"
    assert input_name("outputs.pair", ROLES, COLUMNS, "", ["logits"]).role == "pair"


@pytest.mark.parametrize(
    ("name", "match"),
    [("outputs", "names no output"), ("outputs.logit", "mean 'logits'"), ("outputs.soh", "Unknown output")],
)
def test_an_output_that_is_not_there_is_told(name: str, match: str) -> None:
    with pytest.raises(LossError, match=match):
        input_name(name, [DEFAULT_ROLE], COLUMNS, "", ["logits", "size"])


def test_the_roles_of_a_label_are_not_those_of_another() -> None:
    streams = [stream_of("A", "x"), stream_of("A", "y"), stream_of("A.x"), stream_of("B", "z")]
    assert roles_among(streams, "A") == ["x", "y"]
    assert roles_among(streams, "A.x") == [DEFAULT_ROLE]


def test_an_input_names_a_domain_and_a_role() -> None:
    assert input_name("targets.pair", ROLES, COLUMNS, "") == named("targets", None, "pair")
    assert input_name("outputs", [DEFAULT_ROLE], COLUMNS, "") == named("outputs", None, DEFAULT_ROLE)
    assert input_name("outputs.default", [DEFAULT_ROLE], {}, "") == named("outputs", None, DEFAULT_ROLE)
    assert input_name("module", ROLES, {}, "") == named("module", None, DEFAULT_ROLE)


@pytest.mark.parametrize("key", ["soh", "soh.raw"])
def test_an_input_names_a_column_with_or_without_a_role(key: str) -> None:
    for domain in ("targets", "outputs"):
        found = input_name(f"{domain}.{key}", [DEFAULT_ROLE], COLUMNS, "")
        assert found == named(domain, "targets.soh.raw", DEFAULT_ROLE)
        assert input_name(f"{domain}.{key}.pair", ROLES, COLUMNS, "").role == "pair"


@pytest.mark.parametrize(
    ("name", "roles", "match"),
    [
        (
            "outputs",
            ROLES,
            r"L: the input 'outputs' names no role.*\['anchor', 'pair'\]; use e.g. 'outputs.anchor'",
        ),
        ("outputs.pairs", ROLES, "L: the input 'outputs.pairs': Unknown column or role 'pairs'.*mean 'pair'"),
        ("targets.pair", [DEFAULT_ROLE], "'targets.pair': Unknown column or role 'pair'.*'soh', 'temp'"),
        ("outputs.anchor", [DEFAULT_ROLE], "role 'anchor'.*no sampler draws them; bind .*for_training"),
        ("targets.soh", ROLES, "L: the input 'targets.soh' names no role; use e.g. 'targets.soh.anchor'"),
        ("tags.w", [DEFAULT_ROLE], "'tags.w' may be any of .*'tags.w.transformed'"),
    ],
)
def test_an_input_that_fits_no_role_is_told_with_those_there_are(
    name: str, roles: list[str], match: str
) -> None:
    with pytest.raises(LossError, match=match):
        input_name(name, roles, COLUMNS, "L")
