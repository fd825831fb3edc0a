import gc
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from torch import nn

from modularml.base.errors import DuplicateLabelError, InvalidTypeError, InvalidValueError, UnknownNameError
from modularml.base.registration import POLICY_VARIABLE
from modularml.core.context import ExperimentContext
from modularml.core.data.featureset import FeatureSet
from modularml.core.experiment.experiment import Experiment
from modularml.core.topology.model_graph import ModelGraph
from modularml.core.topology.model_node import ModelNode


class Thing:
    def __init__(self, label: str, node_id: str | None = None) -> None:
        self.label, self.node_id = label, node_id or f"id-{label}-{id(self)}"


@pytest.fixture
def ctx() -> ExperimentContext:
    return ExperimentContext(registration_policy="raise")


# Policies.


@pytest.mark.parametrize(
    ("value", "policy"),
    [
        ("raise", "raise"),
        ("error", "raise"),
        ("Overwrite", "overwrite"),
        ("overwrite_warn", "overwrite"),
        ("rename", "rename"),
    ],
)
def test_a_policy_is_told_in_the_present_words(value: str, policy: str) -> None:
    assert ExperimentContext(registration_policy=value).registration_policy == policy


@pytest.mark.parametrize("value", ["overwite", 3, ""])
def test_an_unknown_policy_is_refused_with_those_that_exist(value: Any) -> None:
    with pytest.raises(
        InvalidValueError, match="Unknown registration policy.*'raise', 'overwrite', 'rename'"
    ):
        ExperimentContext(registration_policy=value)


def test_the_default_is_that_of_the_environment_else_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = ExperimentContext()
    monkeypatch.delenv(POLICY_VARIABLE, raising=False)
    assert ctx.registration_policy == "raise"
    monkeypatch.setenv(POLICY_VARIABLE, "rename")
    assert ctx.registration_policy == "rename"
    ctx.set_registration_policy("overwrite")
    assert ctx.registration_policy == "overwrite"
    ctx.set_registration_policy(None)
    assert ctx.registration_policy == "rename"


def test_raise_keeps_what_is_there_and_says_what_to_do(ctx: ExperimentContext) -> None:
    first = Thing("A")
    ctx.register(first)
    ctx.register(first)
    with pytest.raises(DuplicateLabelError, match="'A' is taken by a Thing.*overwrite"):
        ctx.register(Thing("A"))
    assert ctx.nodes == {"A": first}


def test_overwrite_replaces_in_place_and_frees_the_old(ctx: ExperimentContext) -> None:
    ctx.set_registration_policy("overwrite")
    old, new = Thing("A"), Thing("A")
    gone = weakref.ref(old)
    for thing in (old, Thing("B"), new):
        ctx.register(thing)
    del old, thing
    assert list(ctx.nodes) == ["A", "B"]
    assert ctx.get_node("A") is new
    assert gone() is None


def test_rename_gives_each_newcomer_the_first_free_suffix(ctx: ExperimentContext) -> None:
    ctx.set_registration_policy("rename")
    things = [Thing("A") for _ in range(3)]
    for thing in things:
        ctx.register(thing)
    assert [thing.label for thing in things] == ["A", "A_2", "A_3"]
    ctx.remove_node(label="A_2")
    assert ctx.free_label("A") == "A_2"
    assert ctx.free_label("B") == "B"


def test_a_policy_can_be_lent_and_registration_switched_off(ctx: ExperimentContext) -> None:
    ctx.register(Thing("A"))
    with ctx.use_policy("rename"):
        ctx.register(Thing("A"))
    with pytest.raises(RuntimeError, match="inside"), ctx.use_policy("overwrite"):
        raise RuntimeError("inside")
    assert ctx.registration_policy == "raise"
    with ctx.dont_register():
        ctx.register(Thing("A"))
        ctx.register(Thing("C"))
    assert list(ctx.nodes) == ["A", "A_2"]
    with pytest.raises(DuplicateLabelError):
        ctx.register(Thing("A"))


def test_what_a_thread_lends_itself_does_not_reach_the_others(ctx: ExperimentContext) -> None:
    ctx.register(Thing("A"))
    with ThreadPoolExecutor(1) as other, ctx.use_policy("overwrite"), ctx.dont_register():
        assert other.submit(lambda: ctx.registration_policy).result() == "raise"
        other.submit(ctx.register, Thing("B")).result()
        with pytest.raises(DuplicateLabelError):
            other.submit(ctx.register, Thing("A")).result()
    assert list(ctx.nodes) == ["A", "B"]


# Looking up.


def test_a_node_answers_to_its_label_its_id_and_itself(ctx: ExperimentContext) -> None:
    thing = Thing("A")
    ctx.register(thing)
    for name in ("A", thing.node_id, thing):
        assert ctx.get_node(name) is thing
        assert ctx.has_node(name)
    assert ctx.get_node("A", Thing) is thing


def test_what_is_not_there_is_told_with_the_nearest(ctx: ExperimentContext) -> None:
    ctx.register(Thing("Encoder"))
    with pytest.raises(
        UnknownNameError, match="Unknown node 'Encodr' in this experiment.*Did you mean 'Encoder'"
    ):
        ctx.get_node("Encodr")
    with pytest.raises(UnknownNameError, match="Thing 'Encoder' is not of this experiment"):
        ctx.get_node(Thing("Encoder"))
    assert not ctx.has_node(Thing("Encoder"))
    assert not ctx.has_node(3)


def test_a_node_of_another_kind_is_a_type_error(bench: Any) -> None:
    with pytest.raises(InvalidTypeError, match="'Sensor' is a FeatureSet; a ModelNode is needed here"):
        bench.ctx.get_node("Sensor", ModelNode)


def test_removing_frees_and_tells_what_is_missing(ctx: ExperimentContext) -> None:
    thing = Thing("A")
    gone = weakref.ref(thing)
    ctx.register(thing)
    ctx.register(Thing("B"))
    ctx.remove_node(node_id=thing.node_id)
    del thing
    assert gone() is None
    ctx.remove_node(label="A", error_if_missing=False)
    with pytest.raises(UnknownNameError, match="Unknown node 'A'. Available: 'B'"):
        ctx.remove_node(label="A")
    ctx.clear()
    assert not ctx.nodes


def test_the_nodes_cannot_be_changed_from_outside(ctx: ExperimentContext) -> None:
    with pytest.raises(TypeError):
        ctx.nodes["A"] = Thing("A")  # type: ignore[index]


# Renaming.


def test_renaming_keeps_the_place_and_every_reference(bench: Any) -> None:
    first, second = bench.chain(nn.Linear(4, 3), nn.Linear(3, 1))
    reference = first.reference()
    first.label = "Encoder"
    bench.fs.label = "Cell"
    assert list(bench.ctx.nodes) == ["Cell", "Encoder", "B"]
    assert bench.ctx.get_node(reference) is first
    assert bench.ctx.get_node(second.node_refs[0]) is first
    assert bench.ctx.get_node(first.featureset_refs[0]) is bench.fs
    with pytest.raises(UnknownNameError):
        bench.ctx.get_node("A")


def test_a_reference_follows_its_node_although_another_took_the_label(bench: Any) -> None:
    node = bench.node("A")
    reference = node.reference()
    node.label = "Old"
    newcomer = bench.node("A")
    assert bench.ctx.get_node(reference) is node
    assert bench.ctx.get_node(newcomer.reference()) is newcomer


def test_a_reference_leads_to_what_replaced_its_node(bench: Any) -> None:
    reference = bench.node("A").reference()
    with bench.ctx.use_policy("overwrite"):
        again = bench.node("A")
    assert bench.ctx.get_node(reference) is again


def test_a_label_cannot_be_taken_by_renaming(bench: Any) -> None:
    first, _ = bench.node("A"), bench.node("B")
    with pytest.raises(DuplicateLabelError, match="Cannot rename 'A' to 'B'"):
        first.label = "B"
    with pytest.raises(InvalidValueError, match="must be printable"):
        first.label = "\n"
    first.label = "A"
    assert (first.label, list(bench.ctx.nodes)) == ("A", ["Sensor", "A", "B"])


# Which one is active.


def test_an_experiment_brings_a_context_of_its_own(bench: Any) -> None:
    other = Experiment("other")
    assert ExperimentContext.get_active() is other.ctx
    bench.data("Sensor", n=6)
    assert other.ctx.get_node("Sensor") is not bench.ctx.get_node("Sensor")
    bench.ctx.activate()
    assert ExperimentContext.get_active() is bench.ctx


def test_temporary_contexts_nest_and_end_also_after_an_error(ctx: ExperimentContext) -> None:
    before, inner = ExperimentContext.get_active(), ExperimentContext()
    with ctx.temporary() as entered:
        assert ExperimentContext.get_active() is entered is ctx
        with pytest.raises(KeyError, match="Context"), inner.temporary():
            raise KeyError(repr(ExperimentContext.get_active()))
        assert ExperimentContext.get_active() is ctx
    assert ExperimentContext.get_active() is before


def test_an_experiment_made_in_a_temporary_context_is_the_active_one_within_the_block(bench: Any) -> None:
    with ExperimentContext().temporary():
        exp = Experiment("inside")
        assert ExperimentContext.get_active() is exp.ctx
        data = FeatureSet.from_dict("data", {"x": [[1.0, 2.0]] * 8, "y": [1.0] * 8}, "x", "y")
        data.split_random({"train": 0.5, "test": 0.5}, seed=0)
        ModelGraph.chain(data, [nn.Linear(2, 1)], "sgd")
        exp.execution_plan.add_train_phase("train", split="train", losses="mse", n_epochs=1)
        assert exp.run()["train"].n_epochs == 1
    assert ExperimentContext.get_active() is bench.ctx


def test_equal_labels_in_threads_never_meet() -> None:
    started = threading.Barrier(4)

    def work(n: int) -> tuple[ExperimentContext, int]:
        exp = Experiment("same")
        started.wait()
        FeatureSet.from_dict("Data", {"x": [[float(n)] * 2] * 3}, "x")
        started.wait()
        found = ExperimentContext.get_active()
        assert found is exp.ctx
        return found, int(found.get_node("Data").get_features(fmt="numpy").flat[0])

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, range(4)))
    assert [n for _, n in found] == [0, 1, 2, 3]
    assert len({id(ctx) for ctx, _ in found}) == 4


def test_a_context_does_not_keep_its_experiment_alive() -> None:
    ctx = ExperimentContext()
    exp = Experiment("short", ctx=ctx)
    assert ctx.experiment is exp
    del exp
    gc.collect()
    assert ctx.experiment is None


# The graph.


@pytest.mark.parametrize("what", ["exp", "fs", "graph", "node", "phase"])
def test_what_belongs_to_an_experiment_is_not_pickled_and_says_what_to_do(bench: Any, what: str) -> None:
    node = bench.node("A")
    graph = bench.graph(node)
    found = {"exp": bench.exp, "fs": bench.fs, "graph": graph, "node": node, "phase": bench.evaluate()}
    with pytest.raises(InvalidTypeError, match=r"not pickled.*exp.save\(.*Experiment.load\(.*n_jobs="):
        pickle.dumps(found[what])


def test_there_is_one_graph_and_the_policy_decides_whether_another_may_replace_it(bench: Any) -> None:
    bench.node("A")
    first = bench.graph()
    with pytest.raises(DuplicateLabelError, match="already has the ModelGraph"):
        bench.graph()
    with bench.ctx.use_policy("overwrite"):
        second = bench.graph()
    assert bench.ctx.model_graph is second is not first
    bench.ctx.remove_model_graph()
    assert bench.ctx.model_graph is None


def test_replaced_nodes_and_graphs_are_freed_as_cells_run_again(bench: Any) -> None:
    bench.ctx.set_registration_policy("overwrite")

    def cell() -> list[weakref.ref[Any]]:
        fs = bench.fs = bench.data()
        graph = bench.graph(bench.node("A", bench.ref(fs)))
        bench.exp.run_phase(bench.train())
        return [weakref.ref(fs), weakref.ref(graph.nodes[next(iter(graph.nodes))]), weakref.ref(graph)]

    before = cell()
    cell()
    gc.collect()
    assert [ref() for ref in before] == [None, None, None]


def test_what_print_shows_is_the_public_address_and_repr_the_content(bench: Any) -> None:
    address = "<modularml.core.experiment.experiment_context.ExperimentContext object at 0x"
    assert str(bench.ctx).startswith(address)
    assert repr(bench.ctx) == "ExperimentContext(nodes=['Sensor'], model_graph=None)"
