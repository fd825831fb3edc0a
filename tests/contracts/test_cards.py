"""What a notebook shows of each public object: escaped, small, without script, the same in every process."""

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

import modularml as mml
from modularml import callbacks, models, predicates, samplers, scalers, splitters
from modularml.core.experiment.display_options import QUIET
from modularml.models.torch import SequentialMLP
from tests.opened import opened

HOSTILE = """a&b<script>alert(1)</script><img src=x onerror=alert(1)>"'`#;{}[]|<!--$x$"""
MAX_BYTES = 150_000
MAX_CARD_BYTES = 12_000


class Everything:
    """One experiment in which every name that a user may choose is hostile."""

    def __init__(self) -> None:
        with mml.ExperimentContext().temporary():
            self._make()

    def _make(self) -> None:
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        data = {f"x{HOSTILE}".replace(".", ""): rng.random((24, 3)), "y": rng.random((24, 1))}
        self.exp = mml.Experiment(HOSTILE, ctx=mml.ExperimentContext.get_active())
        self.data = mml.FeatureSet.from_dict(
            label=f"data {HOSTILE}".replace(".", ""), data=data, feature_keys=[*data][:1], target_keys="y"
        )
        split = f"train {HOSTILE}".replace(".", "")
        self.data.split_random(ratios={split: 0.75, "test": 0.25}, seed=1)
        reference = self.data.reference(features=next(iter(data)), targets="y")
        model = SequentialMLP(output_shape=(1, 1), hidden_dim=4)
        self.node = mml.ModelNode(f"net {HOSTILE}", model, reference)
        optimizer = mml.Optimizer("adam", opt_kwargs={"lr": 0.01})
        self.graph = mml.ModelGraph(nodes=[self.node], optimizer=optimizer, label=HOSTILE).build()
        self.loss = mml.AppliedLoss(
            mml.Loss("mse"), on=self.node, inputs=["outputs", "targets"], label=f"loss {HOSTILE}"
        )
        sampler = samplers.SimpleSampler(batch_size=6, seed=3)
        self.train = mml.TrainPhase.from_split(
            f"train {HOSTILE}", split=split, sampler=sampler, losses=[self.loss], n_epochs=3
        )
        self.eval = mml.EvalPhase.from_split(f"eval {HOSTILE}", split="test", losses=[self.loss])
        self.group = mml.PhaseGroup(f"group {HOSTILE}", [self.eval])
        self.exp.execution_plan.add_phase(self.train).add_group(self.group)
        self.results = self.exp.run(**QUIET)
        binding = mml.CVBinding(self.data, split, train_split_name=split, val_split_name="test")
        self.cv = mml.CrossValidation(bindings=binding, n_folds=2, label=f"CV {HOSTILE}")
        self.folds = self.exp.preview_group(self.cv, **QUIET)


@pytest.fixture(scope="module")
def made() -> Everything:
    return Everything()


EXAMPLES: dict[str, Callable[[Everything], Any]] = {
    "AppliedLoss": lambda e: e.loss,
    "AxisSeries": lambda e: e.results[e.train.label].losses(e.node),
    "CVResults": lambda e: e.folds,
    "CrossValidation": lambda e: e.cv,
    "Checkpointing": lambda e: mml.Checkpointing(save_on=["phase_end"]),
    "ConcatNode": lambda e: mml.ConcatNode(HOSTILE, [e.node.reference()] * 2, register=False),
    "EvalPhase": lambda e: e.eval,
    "Experiment": lambda e: e.exp,
    "ExperimentRun": lambda e: e.exp.last_run,
    "FeatureSet": lambda e: e.data,
    "FeatureSetView": lambda e: e.data.splits["test"],
    "History": lambda e: e.exp.history,
    "InputBinding": lambda e: e.train.input_sources[0],
    "Loss": lambda e: mml.Loss("huber", loss_kwargs={"delta": 0.5}),
    "ModelGraph": lambda e: e.graph,
    "ModelNode": lambda e: e.node,
    "Optimizer": lambda e: mml.Optimizer("adam", opt_kwargs={"lr": 0.01}),
    "PhaseGroup": lambda e: e.exp.execution_plan,
    "TrainPhase": lambda e: e.train,
    "EarlyStopping": lambda e: callbacks.EarlyStopping(monitor=HOSTILE),
    "PhaseGroupResults": lambda e: e.results,
    "TrainResults": lambda e: e.results[e.train.label],
    "EvalResults": lambda e: e.results[e.group.label][e.eval.label],
    "Evaluation": lambda e: callbacks.Evaluation(eval_phase=e.eval, label=HOSTILE),
    "FeatureSetReference": lambda e: e.data.reference(),
    "Scaler": lambda e: scalers.Scaler(StandardScaler()),
    "ScikitModelWrapper": lambda e: models.ScikitModelWrapper(Ridge()),
    "SequentialMLP": lambda e: SequentialMLP(output_shape=(1, 1)),
    "SimpleSampler": lambda e: samplers.SimpleSampler(batch_size=3, group_by=[HOSTILE]),
    "SimilarityCondition": lambda e: samplers.SimilarityCondition(mode="similar", tolerance=0.1),
    "RandomSplitter": lambda e: splitters.RandomSplitter({HOSTILE: 0.5, "b": 0.5}),
    "ConditionSplitter": lambda e: splitters.ConditionSplitter(**{HOSTILE: {"x": [HOSTILE]}}),
}


def bundle(shown: Any) -> dict[str, str]:
    """What a notebook gets of an object."""
    if hasattr(shown, "_repr_mimebundle_"):
        made = shown._repr_mimebundle_()
        return made[0] if isinstance(made, tuple) else made
    return {"text/plain": repr(shown), "text/html": shown._repr_html_()}


class _Reader(HTMLParser):
    """Elements and attributes of a document."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_name_becomes_markup_and_nothing_is_fetched_or_run(made: Everything, name: str) -> None:
    shown = bundle(EXAMPLES[name](made))
    assert shown["text/plain"]
    markup = [shown[kind] for kind in ("text/html", "image/svg+xml") if kind in shown]
    assert markup
    for text in map(opened, markup):
        read = _Reader(text)
        assert not read.tags & {"script", "img", "iframe", "link", "object", "embed", "foreignobject"}
        assert not {a for a in read.attributes if a.startswith("on") or a in ("src", "href")}
        assert "alert(1)</script>" not in text
        assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/)", text)
        assert len(text.encode()) < (MAX_BYTES if name in ("History", "FeatureSet") else MAX_CARD_BYTES)


def test_every_public_class_whose_objects_are_shown_has_an_example() -> None:
    names = {name: getattr(mml, name) for name in mml.__all__}
    for package in (callbacks, models, predicates, samplers, scalers, splitters):
        names |= {name: value for name, value in vars(package).items() if not name.startswith("_")}
    shown = {
        name
        for name, cls in names.items()
        if inspect.isclass(cls) and (hasattr(cls, "_repr_mimebundle_") or hasattr(cls, "_repr_html_"))
    }
    same_card = {"FitPhase": "EvalPhase", "FitResults": "EvalResults"}
    missing = {name for name in shown if name not in EXAMPLES and same_card.get(name) not in EXAMPLES}
    assert not {name for name in missing if not _is_family(names[name])}


def _is_family(cls: type) -> bool:
    """Whether another class of its family, with the same card, is among the examples."""
    bases: tuple[type, ...] = (
        samplers.Sampler,
        splitters.Splitter,
        mml.BaseModel,
        mml.MergeNode,
        mml.Callback,
        mml.ExperimentCallback,
        mml.ExperimentNodeReference,
    )
    return issubclass(cls, bases) or cls.__module__.startswith("modularml.scalers.")


TEXTS = """
import sys; sys.path.insert(0, {folder!r})
from test_cards import EXAMPLES, Everything, bundle
made = Everything()
for name, make in EXAMPLES.items():
    print(name, repr(bundle(make(made))["text/plain"]))
"""


def test_the_text_form_is_the_same_in_every_process() -> None:
    folder = os.path.dirname(__file__)
    texts = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", TEXTS.format(folder=folder)],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    ]
    assert texts[0] == texts[1] and "0x" not in texts[0]
