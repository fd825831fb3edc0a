import pytest
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.errors import LossError
from modularml.core.execution.streams import (
    DEFAULT_ROLE,
    domain_and_role,
    label_and_role,
    roles_among,
    stream_of,
)

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1)
ROLES = ["anchor", "pair"]


@given(NAMES, NAMES)
def test_a_stream_tells_its_label_and_role(label: str, role: str) -> None:
    assert label_and_role(stream_of(label, role)) == (label, role)
    assert stream_of(label) == stream_of(label, DEFAULT_ROLE) == label


def test_the_roles_of_a_label_are_not_those_of_another() -> None:
    streams = [stream_of("A", "x"), stream_of("A", "y"), stream_of("A.x"), stream_of("B", "z")]
    assert roles_among(streams, "A") == ["x", "y"]
    assert roles_among(streams, "A.x") == [DEFAULT_ROLE]


def test_an_input_names_a_domain_and_a_role() -> None:
    assert domain_and_role("targets.pair", ROLES, "") == ("targets", "pair")
    assert domain_and_role("outputs", [DEFAULT_ROLE], "") == ("outputs", DEFAULT_ROLE)
    assert domain_and_role("outputs.default", [DEFAULT_ROLE], "") == ("outputs", DEFAULT_ROLE)


@pytest.mark.parametrize(
    ("name", "roles", "match"),
    [
        (
            "outputs",
            ROLES,
            r"L: the input 'outputs' names no role.*\['anchor', 'pair'\]; use e.g. 'outputs.anchor'",
        ),
        ("outputs.pairs", ROLES, "L: the input 'outputs.pairs': Unknown role 'pairs'.*mean 'pair'"),
        ("targets.pair", [DEFAULT_ROLE], "L: the input 'targets.pair' names a role.*use 'targets'"),
    ],
)
def test_an_input_that_fits_no_role_is_told_with_those_there_are(
    name: str, roles: list[str], match: str
) -> None:
    with pytest.raises(LossError, match=match):
        domain_and_role(name, roles, "L")
