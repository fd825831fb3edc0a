"""A spec that no picture can be drawn of is refused where it is made."""

import pytest

from modularml.base.errors import InvalidValueError
from modularml.display.spec import EdgeSpec, GraphSpec, NodeSpec, Section


@pytest.mark.parametrize("id", ["", "n", "0", "n 0", "n0\n", "end", "N0", "n0]", "n0:::x"])
def test_an_id_is_letters_and_a_number(id):
    with pytest.raises(InvalidValueError, match="letters and a number"):
        NodeSpec(id=id, kind="ModelNode")
    with pytest.raises(InvalidValueError, match="letters and a number"):
        EdgeSpec(id=id, source="n0", target="n0")


@pytest.mark.parametrize(("n", "last"), [(12, "row 11"), (13, "… 2 more"), (1300, "… 1,289 more")])
def test_of_many_rows_the_first_are_kept_and_the_rest_counted(n, last):
    section = Section(heading="features", rows=tuple(f"row {i}" for i in range(n)))
    assert (len(section.rows), section.rows[0], section.rows[-1]) == (12, "row 0", last)


def test_words_outside_the_vocabulary_are_refused_with_the_nearest_one():
    with pytest.raises(InvalidValueError, match="Did you mean 'ModelNode'"):
        NodeSpec(id="n0", kind="ModelNod")
    with pytest.raises(InvalidValueError, match="Did you mean 'circle'"):
        NodeSpec(id="n0", kind="ModelNode", shape="cirle")
    with pytest.raises(InvalidValueError, match="Did you mean 'medium'"):
        EdgeSpec(id="e0", source="n0", target="n1", animation="mediun")


def test_all_faults_of_a_graph_are_told_together():
    node = NodeSpec(id="n0", kind="ModelNode")
    with pytest.raises(InvalidValueError) as caught:
        GraphSpec(
            title="ModelGraph 'g'", nodes=(node, node), edges=(EdgeSpec(id="e0", source="n0", target="n7"),)
        )
    for told in ("ModelGraph 'g'", "'n0' is used twice", "'e0' ends at 'n7'"):
        assert told in str(caught.value)
