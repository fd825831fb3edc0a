"""Cells that run again, edited, out of order, and by halves, in a real IPython shell."""

import gc
from abc import ABCMeta
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from modularml import Experiment, FeatureSet
from modularml.base.errors import InvalidValueError, ModularMLWarning, ResolutionError
from modularml.core import cells
from modularml.core.context import ExperimentContext

SETUP = """
import numpy as np, torch
from modularml import *
from modularml.models.torch import SequentialMLP
from modularml.samplers import SimpleSampler
"""
EXPERIMENT = "exp = Experiment('lab')"
DATA = """
rng = np.random.default_rng(0)
x, y = rng.standard_normal((40, 3)), rng.standard_normal((40, 1))
fs = FeatureSet.from_dict("Sensor", {"x": x, "y": y}, "x", "y")
fs.split_random(ratios={"train": 0.8, "test": 0.2}, seed=1)
"""
NODE = """
node = ModelNode("MLP", SequentialMLP(output_shape=(1, 1), n_layers=1, hidden_dim=4), fs.reference())
"""
GRAPH = """
graph = ModelGraph([node], optimizer=Optimizer("sgd", opt_kwargs={"lr": 0.01}))
graph.build()
"""
LOSS = "mse = AppliedLoss(Loss('mse'), on=node)"
SAMPLER = "sampler = SimpleSampler(batch_size=8, shuffle=True, seed=0)"
PHASE = "train = TrainPhase.from_split('train', split='train', sampler=sampler, losses=[mse], n_epochs=2)"
PLAN = """
exp.execution_plan.add_phase(train)
exp.execution_plan.add_phase(EvalPhase.from_split('eval', split='test', losses=[mse]))
"""
RUN = "exp.run()"
NOTEBOOK = {
    "setup": SETUP,
    "experiment": EXPERIMENT,
    "data": DATA,
    "node": NODE,
    "graph": GRAPH,
    "loss": LOSS,
    "sampler": SAMPLER,
    "phase": PHASE,
    "plan": PLAN,
    "run": RUN,
}


class Notebook:
    """A notebook in a front end: cells with ids, run in any order."""

    def __init__(self, *, sends_ids: bool = True) -> None:
        config = Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})
        self.shell = InteractiveShell.instance(config=config)
        cells.current()  # as where the library is imported in an earlier cell
        self.cells, self.sends_ids = dict(NOTEBOOK), sends_ids

    def run(self, *names: str) -> None:
        for name in names or tuple(self.cells):
            error = self.fail(name)
            if error is not None:
                raise error

    def edit(self, name: str, old: str, new: str) -> None:
        assert old in self.cells[name]
        self.cells[name] = self.cells[name].replace(old, new)

    def fail(self, name: str) -> BaseException | None:
        cell_id = f"id-{name}" if self.sends_ids else None
        result = self.shell.run_cell(self.cells[name], store_history=True, cell_id=cell_id)
        found: BaseException | None = result.error_before_exec or result.error_in_exec
        return found

    def __getitem__(self, name: str) -> Any:
        return self.shell.user_ns[name]


@pytest.fixture(params=[True, False], ids=["ids", "hashes"])
def notebook(request: pytest.FixtureRequest, shell: None) -> Notebook:
    found = Notebook(sends_ids=request.param)
    found.run()
    return found


def test_outside_of_a_notebook_there_is_no_cell() -> None:
    assert cells.current() is None
    assert not cells.is_again(None)


def test_a_cell_that_is_executed_again_replaces_what_it_defined(notebook: Notebook) -> None:
    before = {name: notebook[name] for name in ("fs", "node", "graph")}
    notebook.run("data", "node", "graph", "loss", "sampler", "phase", "plan", "run")
    ctx: ExperimentContext = notebook["exp"].ctx
    assert list(ctx.nodes) == ["Sensor", "MLP"]
    for name, old in before.items():
        assert notebook[name] is not old
    assert ctx.get_node("Sensor") is notebook["fs"]
    assert [entry.label for entry in notebook["exp"].execution_plan] == ["train", "eval"]
    assert [run.status for run in notebook["exp"].history] == ["completed"] * 2


def test_a_label_of_another_cell_is_refused_and_that_cell_named(notebook: Notebook) -> None:
    notebook.cells["copy"] = "other_fs = FeatureSet.from_dict('Sensor', {'x': np.zeros((4, 3))}, 'x')"
    error = notebook.fail("copy")
    assert "it was defined in the cell [3] rng = np.random.default_rng(0)" in str(error)
    assert notebook["exp"].ctx.get_node("Sensor") is notebook["fs"]
    notebook.cells["twice"] = "a, b = (FeatureSet.from_dict('Z', {'x': np.zeros((4, 3))}, 'x') for _ in 'ab')"
    assert "in this cell itself" in str(notebook.fail("twice"))


def test_a_name_of_the_user_s_that_hides_the_inputs_does_no_harm(notebook: Notebook) -> None:
    notebook.cells["in"] = "from modularml.predicates import In"
    notebook.run("in", "data", "node")
    assert list(notebook["exp"].ctx.nodes) == ["Sensor", "MLP"]


def test_an_edited_cell_is_the_same_cell(notebook: Notebook) -> None:
    notebook.edit("data", "(40, 3)", "(80, 3)")
    notebook.edit("data", "(40, 1)", "(80, 1)")
    notebook.run("data", "run")
    assert notebook["exp"].ctx.get_node("Sensor") is notebook["fs"]
    assert notebook["exp"].last_run.status == "completed"


def test_an_edited_cell_takes_back_what_it_defines_no_more(notebook: Notebook) -> None:
    notebook.cells["node"] += (
        "spare = ModelNode('Spare', SequentialMLP(output_shape=(1, 1)), fs.reference())\n"
    )
    notebook.run("node")
    assert list(notebook["exp"].ctx.nodes) == ["Sensor", "MLP", "Spare"]
    notebook.edit("node", "'Spare'", "'Other'")
    notebook.run("node")
    assert list(notebook["exp"].ctx.nodes) == ["Sensor", "MLP", "Other"]


def test_a_cell_that_failed_leaves_whole_definitions_only(notebook: Notebook) -> None:
    nodes = dict(notebook["exp"].ctx.nodes)
    notebook.edit("node", "fs.reference()", "fs.refrence()")
    assert isinstance(notebook.fail("node"), AttributeError)
    notebook.edit("loss", "AppliedLoss(Loss('mse')", "AppliedLoss(Loss('msee')")
    assert "Did you mean 'mse'" in str(notebook.fail("loss"))
    assert notebook["exp"].ctx.nodes == nodes
    assert [entry.label for entry in notebook["exp"].execution_plan] == ["train", "eval"]
    notebook.run("run")


@pytest.mark.parametrize(
    ("cell", "old", "new", "seen"),
    [
        (
            "sampler",
            "batch_size=8",
            "batch_size=16",
            lambda exp: _train(exp).input_sources[0].sampler.batch_size == 16,
        ),
        ("loss", "'mse'", "'l1'", lambda exp: _train(exp).losses[0].label == "l1"),
        ("phase", "n_epochs=2", "n_epochs=3", lambda exp: exp.last_run.results["train"].n_epochs == 3),
        ("graph", "0.01", "0.5", lambda exp: exp.model_graph.optimizer.opt_kwargs == {"lr": 0.5}),
        (
            "node",
            "hidden_dim=4",
            "hidden_dim=8",
            lambda exp: exp.ctx.get_node("MLP") is exp.model_graph.head_nodes[0],
        ),
        ("data", "(0)", "(1)", lambda exp: exp.last_run.status == "completed"),
    ],
)
def test_definitions_meet_from_the_next_run_on(shell: None, cell: str, old: str, new: str, seen: Any) -> None:
    notebook = Notebook()
    notebook.run()
    notebook.edit(cell, old, new)
    notebook.run(cell, "run")
    assert seen(notebook["exp"])
    assert [entry.label for entry in notebook["exp"].execution_plan] == ["train", "eval"]


def _train(exp: Experiment) -> Any:
    return exp.execution_plan["train"]


def test_what_a_cell_redefines_is_used_by_a_run_in_the_same_cell(shell: None) -> None:
    notebook = Notebook()
    notebook.cells["sampler"] += "\nresults = exp.run() if 'train' in exp.execution_plan else None"
    notebook.run()
    notebook.edit("sampler", "batch_size=8", "batch_size=16")
    notebook.run("sampler")
    assert _train(notebook["exp"]).input_sources[0].sampler.batch_size == 16


def test_equal_names_in_different_cells_have_nothing_to_do_with_each_other(notebook: Notebook) -> None:
    notebook.cells["again"] = "sampler = SimpleSampler(batch_size=32)\ntrain = None"
    notebook.run("again", "run")
    assert _train(notebook["exp"]).input_sources[0].sampler.batch_size == 8


@pytest.mark.parametrize(
    "copied", ["copy.copy(sampler)", "copy.deepcopy(sampler)", "pickle.loads(pickle.dumps(sampler))"]
)
def test_nothing_comes_in_the_place_of_a_copy(shell: None, copied: str) -> None:
    notebook = Notebook()
    notebook.run(*NOTEBOOK, "sampler", "sampler")  # the first one has followers
    notebook.cells["copy"] = f"import copy, pickle\nmine = {copied}\nmine.batch_size = 4"
    notebook.cells["mine"] = "own = TrainPhase.from_split('own', split='train', sampler=mine, losses=[mse])"
    notebook.run("copy", "mine")
    notebook.edit("sampler", "batch_size=8", "batch_size=16")
    notebook.run("sampler")
    notebook.cells["own"] = "results = exp.run_phase(own)"
    notebook.run("own", "run")
    assert notebook["own"].input_sources[0].sampler.batch_size == 4
    assert _train(notebook["exp"]).input_sources[0].sampler.batch_size == 16


def test_a_copy_of_the_experiment_is_not_touched_by_cells_that_run_again(notebook: Notebook) -> None:
    notebook.cells["copy"] = "import copy\nother, graph_before = copy.deepcopy(exp), copy.deepcopy(graph)"
    notebook.run("copy")
    nodes = dict(notebook["other"].ctx.nodes)
    notebook.edit("node", "hidden_dim=4", "hidden_dim=8")
    notebook.edit("data", "(40, 3)", "(60, 3)")
    notebook.edit("data", "(40, 1)", "(60, 1)")
    notebook.run("data", "node", "graph", "sampler", "loss", "phase", "plan", "run", "copy")
    assert notebook["exp"].ctx.get_node("Sensor").n_samples == 60
    assert nodes["Sensor"].n_samples == 40
    notebook.cells["before"] = "results = other.run()"
    notebook.run("before")
    assert [run.status for run in notebook["other"].history] == ["completed"] * 3


def test_the_experiment_s_cell_again_keeps_what_other_cells_defined(notebook: Notebook) -> None:
    first = notebook["exp"]
    notebook.run("experiment", "run")
    exp = notebook["exp"]
    assert exp is not first
    assert (exp.ctx, len(exp.history), exp.ctx.experiment) == (first.ctx, 2, exp)
    notebook.run("experiment", "data", "node", "graph", "loss", "sampler", "phase", "plan", "run")
    assert len(notebook["exp"].history) == 3


def test_a_set_is_not_replaced_silently_by_a_node(
    notebook: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook.cells["data"] += "fs2 = FeatureSet.from_dict('Two', {'x': np.zeros((4, 3))}, 'x')"
    notebook.run("data")
    notebook.edit(
        "data",
        "fs2 = FeatureSet.from_dict('Two', {'x': np.zeros((4, 3))}, 'x')",
        "fs2 = ModelNode('Two', SequentialMLP(), fs)",
    )
    capsys.readouterr()
    notebook.run("data")
    assert "FeatureSet 'Two' made room for a ModelNode" in capsys.readouterr().err


SCALE = "fs.fit_transform('StandardScaler', domain='features', fit_to_split='train')"


def test_a_scaler_that_is_applied_again_takes_the_place_of_itself(notebook: Notebook) -> None:
    notebook.cells |= {"scale": SCALE, "limit": SCALE.replace("Standard", "MinMax")}
    notebook.run("scale")
    once = notebook["fs"].table.column("features.x.transformed").copy()
    notebook.run("scale", "scale")
    assert [record.scaler_obj.scaler_name for record in notebook["fs"].scaler_records] == ["StandardScaler"]
    assert (notebook["fs"].table.column("features.x.transformed") == once).all()
    notebook.run("limit", "limit")
    assert len(notebook["fs"].scaler_records) == 2
    with pytest.warns(ModularMLWarning, match=r"this cell scales .* is gone, too. Run cell \[\d+\] fs.fit"):
        notebook.run("scale")
    assert (notebook["fs"].table.column("features.x.transformed") == once).all()
    notebook.run("limit")
    assert len(notebook["fs"].scaler_records) == 2


def test_scalers_of_one_cell_are_applied_again_in_their_order(notebook: Notebook) -> None:
    notebook.cells["scale"] = f"{SCALE}\n{SCALE.replace('Standard', 'MinMax')}"
    notebook.run("scale", "scale")
    names = [record.scaler_obj.scaler_name for record in notebook["fs"].scaler_records]
    assert names == ["StandardScaler", "MinMaxScaler"]


def test_what_cannot_be_scaled_anew_stays_scaled_as_it_was(notebook: Notebook) -> None:
    notebook.cells |= {"axes": "axes = None", "scale": SCALE.replace(")", ", merged_axes=axes)")}
    notebook.run("axes", "scale")
    once, scaling = notebook["fs"].table, notebook["fs"].scaler_records
    notebook.cells["axes"] = "axes = 7"
    with pytest.raises(InvalidValueError, match="merged_axes must be some of the axes 0 to 2"):
        notebook.run("axes", "scale")
    assert notebook["fs"].table is once and notebook["fs"].scaler_records == scaling


def test_a_set_that_got_another_label_says_which_cell_and_what_to_do(shell: None) -> None:
    notebook = Notebook()
    notebook.run()
    notebook.edit("data", '"Sensor"', '"Probe"')
    notebook.run("data")
    told = "'Sensor' in this experiment. Available: 'MLP', 'Probe'. Cell \\[\\d+\\] rng = np.random"
    with pytest.raises(ResolutionError, match=f"{told}.* ran again and defines it no more; run the cells"):
        notebook.run("run")
    notebook.cells["status"] = "status, diff = exp.status(), exp.diff(0)"
    notebook.run("status")
    assert "'train' (run 0) are stale: it cannot run now: Unknown node 'Sensor'" in str(notebook["status"])
    assert "'train' cannot run now: Unknown node 'Sensor'" in repr(notebook["diff"])
    notebook.run("node", "graph", "loss", "phase", "plan", "run")
    assert notebook["exp"].status().stale == []
    assert list(notebook["exp"].ctx.nodes) == ["MLP", "Probe"]


@pytest.mark.parametrize("where", ["data", "rename"])
def test_a_node_that_was_renamed_is_one_after_its_cell_ran_again(notebook: Notebook, where: str) -> None:
    notebook.cells["rename"] = ""
    notebook.cells[where] += "\nfs.label = 'Probe'"
    notebook.run(where)
    assert sorted(notebook["exp"].ctx.nodes) == ["MLP", "Probe"]
    notebook.run("data")
    assert sorted(notebook["exp"].ctx.nodes) == ["MLP", "Sensor" if where == "rename" else "Probe"]
    notebook.run("node", "graph", "loss", "phase", "plan", "run")


def test_nodes_that_a_loop_renames_are_replaced_too(notebook: Notebook) -> None:
    notebook.cells["loop"] = """
for i in range(3):
    spare = ModelNode('spare', SequentialMLP(output_shape=(1, 1)), fs.reference())
    spare.label = f'spare {i}'
"""
    notebook.run("loop", "loop")
    assert list(notebook["exp"].ctx.nodes) == ["Sensor", "MLP", "spare 0", "spare 1", "spare 2"]
    notebook.cells["other"] = "node.label = 'spare 1'"
    assert "that label is taken" in str(notebook.fail("other"))


def test_a_callback_that_is_added_to_a_phase_again_takes_the_place_of_itself(notebook: Notebook) -> None:
    notebook.cells["callback"] = """
train.add_callback(EarlyStopping(monitor='mse', label=text))
train.add_callback(EarlyStopping(monitor='mse', execution_order=0))
"""
    for text in ("a", "b"):
        notebook.shell.user_ns["text"] = text
        notebook.run("callback")
    assert [callback.label for callback in notebook["train"].callbacks] == ["EarlyStopping", "b"]


def test_a_callback_that_is_added_again_takes_the_place_of_itself(notebook: Notebook) -> None:
    notebook.cells["callback"] = """
class Say(ExperimentCallback):
    pass
exp.add_callback(Say())
exp.add_callback(Say(label='twice', execution_order=-1))
"""
    notebook.run("callback")
    notebook.edit("callback", "pass", "text = 'a'")
    notebook.run("callback", "experiment")
    assert [callback.label for callback in notebook["exp"].exp_callbacks] == ["twice", "Say"]
    assert all(type(callback) is notebook["Say"] for callback in notebook["exp"].exp_callbacks)
    notebook.run("callback", "run")
    assert len(notebook["exp"].exp_callbacks) == 2


def test_a_node_that_is_added_again_stays_in_the_graph(notebook: Notebook) -> None:
    notebook.cells["add"] = """
tail = ModelNode('tail', SequentialMLP(output_shape=(1, 1)), node)
graph.add_node(tail).build()
"""
    notebook.run("add", "add")
    assert notebook["graph"].tail_nodes == [notebook["tail"]]
    notebook.cells["twice"] = "graph.add_node(tail)"
    assert "already" in str(notebook.fail("twice"))
    notebook.run("node", "graph", "add", "add")
    assert notebook["graph"].node_labels == ["MLP", "tail"]


def test_a_cell_that_loads_an_experiment_loads_it_again(
    notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = notebook["exp"].save(tmp_path / "lab")
    notebook.cells["away"] = "ctx = ExperimentContext().activate()"
    notebook.cells["load"] = f"loaded = Experiment.load({str(path)!r})"
    notebook.run("away", "load")
    notebook.cells["again"] = f"other = Experiment.load({str(path)!r})"
    assert "belongs to the experiment 'lab'" in str(notebook.fail("again"))
    notebook.cells["more"] = "results = loaded.run()"
    notebook.run("more")
    capsys.readouterr()
    notebook.run("load", "load")
    assert capsys.readouterr().err.count("without 1 run that it does not hold") == 1
    if notebook.sends_ids:
        notebook.cells["load"] += "  # edited"
        notebook.run("load", "more", "load")
    assert len(notebook["loaded"].history) == 1
    assert notebook["loaded"].ctx.experiment is notebook["loaded"]
    assert sorted(notebook["ctx"].nodes) == ["MLP", "Sensor"]


def test_a_cell_that_loads_a_set_loads_it_again(notebook: Notebook, tmp_path: Path) -> None:
    path = tmp_path / "probe.fs.mml"

    def write(n: int) -> None:
        with ExperimentContext().temporary():
            FeatureSet.from_dict("Probe", {"x": np.zeros((n, 3))}, "x").save(path, overwrite=True)

    write(4)
    notebook.cells["load"] = f"probe = FeatureSet.load({str(path)!r})"
    notebook.run("load", "load")
    write(5)
    notebook.run("load")
    assert list(notebook["exp"].ctx.nodes) == ["Sensor", "MLP", "Probe"]
    assert notebook["exp"].ctx.get_node("Probe").n_samples == 5


def test_a_script_that_is_run_twice_in_a_cell_leaves_one_of_each(notebook: Notebook, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    own = "def own(a, b):\n    return (a - b) ** 2\n"
    lines = [text for text in NOTEBOOK.values() if text != LOSS]
    script.write_text(own + "\n".join([*lines[:5], "mse = AppliedLoss(Loss(own), on=node)", *lines[5:]]))
    notebook.cells["script"] = f"%run {script}"
    notebook.run("script", "script")
    assert list(notebook["exp"].ctx.nodes) == ["Sensor", "MLP"]
    assert len(notebook["exp"].history) == 2
    assert notebook["exp"].status().stale == []  # also outside of the script, whose source is found otherwise


def test_fifty_runs_of_a_whole_notebook_leave_one_of_each(notebook: Notebook) -> None:
    def alive() -> dict[str, int]:
        gc.collect()
        kinds = (
            "Experiment",
            "ExperimentContext",
            "FeatureSet",
            "ModelNode",
            "ModelGraph",
            "TrainPhase",
            "EvalPhase",
            "AppliedLoss",
            "SimpleSampler",
            "ScalerRecord",
            "Net",
            "Say",
        )
        things = gc.get_objects()
        names = [type(thing).__name__ for thing in things]
        own = [thing.__name__ for thing in things if type(thing) in (type, ABCMeta)]
        own += [thing.__name__ for thing in things if type(thing) is FunctionType]
        counts = {kind: names.count(kind) for kind in kinds}
        return counts | {f"{name} itself": own.count(name) for name in ("Net", "Say", "own_loss")}

    notebook.cells["node"] = """
class Net(torch.nn.Linear):
    pass
def own_loss(a, b):
    return (a - b) ** 2
node = ModelNode("MLP", Net(3, 1), fs.reference())
node
"""
    notebook.edit("loss", "'mse'", "own_loss")
    notebook.cells["scale"] = SCALE.replace("features", "targets")
    notebook.cells["say"] = "class Say(ExperimentCallback):\n    pass\nexp.add_callback(Say())"
    notebook.cells["status"] = "exp.status()"
    notebook.run()
    before, n_runs = alive(), len(notebook["exp"].history)
    for _ in range(50):
        notebook.run()
    assert alive() == before
    assert len(notebook["exp"].history) == n_runs + 50
