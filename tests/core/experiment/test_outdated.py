"""Classes and functions that a cell or a module defines anew, and that nothing is made of again, say so."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.core.test_cells import Notebook

BASE = """
class Base(torch.nn.Module):
    factor = 1.0
"""
NET = """
class Net(Base):
    def __init__(self, width=4):
        super().__init__()
        self.width = width
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 1))

    def forward(self, x):
        return self.factor * self.layers(x)
"""
LOSS = "def square(a, b): return ((a - b) ** 2).mean()"
WATCH = """
from modularml import Callback
class Watch(Callback):
    def on_epoch_end(self, **_): pass
"""
PLAN = """
train = TrainPhase.from_split("train", split="train", sampler=SimpleSampler(batch_size=8), losses=square,
    n_epochs=1, callbacks=[Watch(label="watch")])
exp.execution_plan.add_phase(train)
exp.execution_plan.add_phase(EvalPhase.from_split("eval", split="test", losses=square))
"""


@pytest.fixture
def notebook(shell: None) -> Notebook:
    found = Notebook()
    kept = {name: found.cells[name] for name in ("setup", "experiment", "data")}
    node = "node = ModelNode('net', Net(), fs)\ngraph = ModelGraph([node], Optimizer('sgd')).build()"
    found.cells = {**kept, "base": BASE, "net": NET, "loss": LOSS, "watch": WATCH, "node": node}
    found.cells |= {"plan": PLAN, "run": "results = exp.run()"}
    found.run()
    return found


def told(notebook: Notebook) -> list[str]:
    notebook.cells["status"] = "status = exp.status()"
    notebook.run("status")
    return list(notebook["status"].outdated)


def test_a_class_that_is_defined_as_before_is_the_same(notebook: Notebook) -> None:
    notebook.run("net", "loss", "watch")
    assert told(notebook) == []
    assert notebook["status"].stale == []


def test_a_class_that_changed_is_told_until_the_node_is_made_again(notebook: Notebook) -> None:
    notebook.edit("net", "self.layers(x)", "2 * self.layers(x)")
    notebook.run("net")
    words = (
        "node 'net' uses class Net as it was before cell [11] defined it anew; run cell [8] again, which "
        "makes it: node = ModelNode('net', Net(), fs)"
    )
    assert told(notebook) == [words]
    assert [entry.state for entry in notebook["status"]] == ["up to date"] * 2
    assert str(notebook["status"][0]) == f"results of 'train' (run 0) are up to date; {words}"
    assert repr(notebook["status"]).endswith(f"\n{words}")
    assert "uses class Net" in notebook["status"]._repr_mimebundle_()["text/html"]
    notebook.run("node")
    assert told(notebook) == []
    assert notebook["status"].stale == ["train", "eval"]
    assert "the source of __main__.Net of node 'net' changed" in str(notebook["status"])


def test_a_run_and_a_preview_say_it_first_and_a_loop_once(
    notebook: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook.edit("net", "self.layers(x)", "2 * self.layers(x)")
    notebook.run("net")
    for cell in (
        "results = exp.run()",
        "exp.preview_phase(train)",
        "for _ in range(3): exp.run_phase(train)",
    ):
        capsys.readouterr()
        notebook.cells["again"] = cell
        notebook.run("again")
        assert capsys.readouterr().err.count("uses class Net") == 1
    notebook.cells["again"] = "results = exp.run(stale_only=True)"
    notebook.run("again", "again")
    assert capsys.readouterr().err.count("uses class Net") == 2


def test_a_run_of_what_is_stale_says_no_sentence_twice(
    notebook: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook.edit("net", "self.layers(x)", "2 * self.layers(x)")
    notebook.edit("watch", "pass", "return None or {}")
    notebook.run("net", "watch")
    notebook.cells["again"] = "exp.execution_plan['eval'].batch_size = 4\nresults = exp.run(stale_only=True)"
    notebook.run("again")
    assert list(notebook["results"].flatten()) == ["eval"]
    told = capsys.readouterr().err
    assert told.count("uses class Net") == told.count("uses class Watch") == 1


def test_a_loss_and_a_callback_are_told_too(notebook: Notebook) -> None:
    notebook.edit("loss", "mean", "sum")
    notebook.edit("watch", "pass", "return None or {}")
    notebook.run("loss", "watch")
    assert told(notebook) == [
        "loss 'square' uses function square as it was before cell [11] defined it anew; run cell [9] again, "
        'which makes it: train = TrainPhase.from_split("train", split="train", sampl…',
        "callback 'watch' uses class Watch as it was before cell [12] defined it anew; run cell [9] again, "
        'which makes it: train = TrainPhase.from_split("train", split="train", sampl…',
    ]
    notebook.run("plan", "run")
    assert told(notebook) == []


def test_a_class_that_another_derives_from_is_told_with_the_way(notebook: Notebook) -> None:
    notebook.edit("base", "1.0", "2.0")
    notebook.run("base")
    assert told(notebook) == [
        "node 'net' uses class Base as it was before cell [11] defined it anew; define Net, which derives "
        "from it, anew in cell [5], then run cell [8] again, which makes it: "
        "node = ModelNode('net', Net(), fs)"
    ]
    notebook.run("net", "node")
    assert told(notebook) == []


def test_a_class_in_a_cell_of_its_node_is_made_of_again_with_it(notebook: Notebook) -> None:
    notebook.cells["node"] = NET.replace("Net", "Own") + notebook.cells["node"].replace("Net()", "Own()")
    notebook.run("node", "run")
    notebook.edit("node", "self.layers(x)", "2 * self.layers(x)")
    notebook.run("node", "run")
    assert told(notebook) == []


def test_a_node_of_a_class_is_told_and_a_build_makes_it_of_the_old_one(notebook: Notebook) -> None:
    notebook.edit("node", "Net()", "Net")
    notebook.run("node", "run")
    notebook.edit("net", "width=4", "width=5")
    notebook.run("net")
    assert [words.partition(" as ")[0] for words in told(notebook)] == ["node 'net' uses class Net"]


def test_instances_of_the_old_class_work_on_with_those_of_the_new(notebook: Notebook) -> None:
    notebook.cells["two"] = """
exp.ctx.set_registration_policy('overwrite')
second = ModelNode('second', Net(), node)
graph = ModelGraph([node, second], Optimizer('sgd')).build()
"""
    notebook.edit("net", "torch.nn.Linear(3, width)", "torch.nn.Linear(1, width)")
    notebook.run("net", "two", "plan", "run")
    assert type(notebook["node"].module) is not type(notebook["second"].module)
    assert notebook["exp"].last_run.status == "completed"
    notebook.cells["copy"] = "import copy\nother = copy.deepcopy(exp)\nresults = other.run()"
    notebook.run("copy")


MODULE = """
import torch
def square(a, b):
    return ((a - b) ** 2).mean()
class Net(torch.nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.width = width
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 1))
    def forward(self, x):
        return self.layers(x)
"""


class Edited:
    """A module file of the user's."""

    def __init__(self, folder: Path) -> None:
        self.path, self.text, self.seconds = folder / "my_net_module.py", MODULE, 1_000_000_000
        self.edit("", "")

    def edit(self, old: str, new: str) -> None:
        assert old in self.text
        self.text = self.text.replace(old, new)
        self.path.write_text(self.text)
        self.seconds += 10  # as if the time had passed that autoreload tells versions apart by
        os.utime(self.path, (self.seconds, self.seconds))


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edited]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Edited(tmp_path)
    sys.modules.pop("my_net_module", None)


@pytest.fixture
def of_module(edited: Edited, shell: None) -> Notebook:
    found = Notebook()
    found.cells["node"] = "node = ModelNode('MLP', Net(), fs.reference())"
    found.cells["loss"] = "mse = AppliedLoss(Loss(square), on=node)"
    found.cells["setup"] += "from my_net_module import Net, square\n"
    return found


def load_again(notebook: Notebook) -> None:
    importlib.reload(sys.modules["my_net_module"])


def test_a_module_that_is_loaded_again_is_told(of_module: Notebook, edited: Edited) -> None:
    of_module.run()
    edited.edit("return self.layers(x)", "return 2 * self.layers(x)")
    load_again(of_module)
    assert told(of_module) == [
        "node 'MLP' uses class Net as it was before the module my_net_module was loaded again; run cell [4] "
        "again, which makes it: node = ModelNode('MLP', Net(), fs.reference())"
    ]


def test_autoreload_changes_methods_and_losses_in_place_and_does_no_harm(
    of_module: Notebook, edited: Edited
) -> None:
    of_module.cells["setup"] = "%load_ext autoreload\n%autoreload 2\n" + of_module.cells["setup"]
    of_module.run()
    edited.edit("return self.layers(x)", "return 2 * self.layers(x)")
    assert told(of_module) == []
    assert of_module["status"].stale == ["train", "eval"]
    assert "the source of my_net_module.Net of node 'MLP' changed" in str(of_module["status"])
    assert isinstance(of_module["node"].module, of_module["Net"])
    of_module.run("run")
    edited.edit(".mean()", ".sum()")
    assert told(of_module) == []
    assert "loss 'square' of 'train' changed the source of my_net_module.square" in str(of_module["status"])
    of_module.run("run")
    assert told(of_module) == []
    assert of_module["status"].stale == []


def test_autoreload_of_a_constructor_is_told_until_the_node_is_made_again(
    of_module: Notebook, edited: Edited
) -> None:
    of_module.cells["setup"] = "%load_ext autoreload\n%autoreload 2\n" + of_module.cells["setup"]
    of_module.run()
    edited.edit("width=4", "width=5")
    assert told(of_module) == [
        "node 'MLP' has new methods of class Net, and what its old __init__ made: it is of before the module "
        "my_net_module was loaded again; run cell [4] again, which makes it: node = ModelNode('MLP', Net(), "
        "fs.reference())"
    ]
    of_module.run("node", "graph", "run")
    assert told(of_module) == []
    assert of_module["node"].module.layers[0].out_features == 5


def test_in_a_script_it_is_told_without_cells(make_lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[__name__]

    def define(factor: float) -> None:
        exec(f"def own_loss(a, b): return {factor} * (a - b) ** 2", vars(module))

    define(1.0)
    lab = make_lab()
    lab.exp.execution_plan.add_phase(lab.train(losses=vars(module)["own_loss"]))
    lab.exp.run()
    assert lab.exp.status().outdated == []
    define(2.0)
    assert lab.exp.status().outdated == [
        f"loss 'own_loss' uses function own_loss as it was before the module {__name__} was loaded again; "
        "make it again"
    ]
