from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modularml import Callback, Checkpointing, PhaseGroup
from modularml.base.errors import (
    InvalidTypeError,
    InvalidValueError,
    ModularMLError,
    ModularMLWarning,
    StateError,
    UnknownNameError,
)
from modularml.core.experiment.checkpoint_store import CheckpointStore
from modularml.core.experiment.checkpointing import EXPERIMENT

# -- the configuration -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "memry"}, "'memry'.*Did you mean 'memory'"),
        ({"save_on": "phase_edn"}, "'phase_edn'.*Did you mean 'phase_end'"),
        ({"save_on": []}, "save_on is empty"),
        ({"save_on": [3]}, "save_on 3"),
        ({"save_on": 3}, "save_on must be a list"),
        ({"every_n": 0}, "every_n must be an int of at least 1, got 0"),
        ({"every_n": 1.5}, "every_n must be an int"),
        ({"max_to_keep": 0}, "max_to_keep must be an int of at least 1, got 0"),
        ({"name_template": "{labl}"}, "'labl'.*Did you mean 'label'"),
        ({"name_template": "{}"}, "placeholder ''"),
        ({"name_template": "{label.upper}"}, "placeholder 'label.upper'"),
        ({"name_template": "{label"}, "is no template"),
        ({"name_template": "{label:d}"}, "is no template"),
        ({"name_template": ""}, "non-empty"),
        ({"name_template": 3}, "must be text"),
    ],
)
def test_what_is_not_allowed_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ModularMLError, match=message):
        Checkpointing(**arguments)


def test_all_faults_are_told_together() -> None:
    with pytest.raises(InvalidValueError, match="4 faults") as caught:
        Checkpointing(mode="ram", save_on="epoch", every_n=0, name_template="{epok}")
    assert all(word in str(caught.value) for word in ("'ram'", "'epoch'", "every_n", "name_template"))


def test_configuration_round_trip(tmp_path: Path) -> None:
    made = Checkpointing(save_on=["phase_end", "group_end"], every_n=2, directory=tmp_path, max_to_keep=3)
    assert Checkpointing.from_config(made.get_config()) == made
    assert Checkpointing() != made
    assert repr(Checkpointing(max_to_keep=2)) == "Checkpointing(max_to_keep=2)"


@pytest.mark.parametrize("moment", EXPERIMENT.moments)
def test_names(moment: str) -> None:
    named = Checkpointing(save_on=moment)
    begins = moment in ("phase_start", "group_start")
    assert named.name_at(moment, "a") == ("a_start" if begins else "a")
    assert Checkpointing(save_on=moment, name_template="x-{label}-y").name_at(moment, "a") == "x-a-y"


# -- written by itself -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "names"),
    [
        ("phase_start", ["train_start", "eval_start"]),
        ("phase_end", ["train", "eval"]),
        ("group_start", ["g_start"]),
        ("group_end", ["g"]),
        ("experiment_start", ["START"]),
        ("experiment_end", ["END"]),
    ],
)
def test_each_moment_writes_its_checkpoints(lab: Any, tmp_path: Path, moment: str, names: list[str]) -> None:
    lab.exp.execution_plan.add_phase(lab.train()).add_group(PhaseGroup("g", [lab.evaluate()]))
    lab.exp.set_checkpointing(Checkpointing(save_on=moment, directory=tmp_path / "new"))
    lab.exp.run()
    found = lab.exp.available_checkpoints
    assert list(found) == names
    assert list(found.values()) == [tmp_path / "new" / f"{name}.ckpt.mml" for name in names]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(p.name for p in found.values())


def test_every_nth_moment_counts_across_runs(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpointing(Checkpointing(every_n=2, directory=tmp_path))
    for i in range(5):
        lab.exp.run_phase(lab.evaluate(f"e{i}"))
    assert list(lab.exp.available_checkpoints) == ["e1", "e3"]
    lab.exp.set_checkpointing(Checkpointing(every_n=2, directory=tmp_path))
    lab.exp.run_phase(lab.evaluate("of a new policy, the first"))
    assert list(lab.exp.available_checkpoints) == ["e1", "e3"]


def test_two_experiments_may_share_a_policy(make_lab: Any, tmp_path: Path) -> None:
    policy = Checkpointing(every_n=2)
    for label in ("one", "two"):
        lab = make_lab(label, checkpointing=policy)
        lab.exp.set_checkpoint_dir(tmp_path / label)
        lab.exp.run_phase(lab.evaluate("a"))
        assert lab.exp.available_checkpoints == {}


def test_only_the_newest_are_kept_and_what_was_saved_by_hand_stays(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    lab.exp.set_checkpointing(Checkpointing(max_to_keep=2))
    lab.exp.save_checkpoint("mine")
    lab.exp.run_phase(lab.evaluate("e0"))
    lab.exp.save_checkpoint("e0", overwrite=True)
    for i in range(1, 5):
        lab.exp.run_phase(lab.evaluate(f"e{i}"))
    assert set(lab.exp.available_checkpoints) == {"mine", "e0", "e3", "e4"}
    assert {p.name.partition(".")[0] for p in tmp_path.iterdir()} == {"mine", "e0", "e3", "e4"}


def test_pruning_survives_a_state_in_which_checkpoints_are_unknown(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpointing(Checkpointing(max_to_keep=1, directory=tmp_path))
    state = lab.exp.get_state()
    lab.exp.run_phase(lab.evaluate("a"))
    lab.exp.set_state(state)
    lab.exp.run_phase(lab.evaluate("b"))
    assert list(lab.exp.available_checkpoints) == ["b"]


def test_without_overwrite_a_second_one_of_a_name_fails_the_run(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpointing(Checkpointing(directory=tmp_path, overwrite=False))
    lab.exp.run_phase(lab.evaluate())
    before = (tmp_path / "eval.ckpt.mml").read_bytes()
    with pytest.raises(InvalidValueError, match="'eval' is there already.*overwrite=True"):
        lab.exp.run_phase(lab.evaluate())
    assert lab.exp.last_run.status == "failed"
    assert (tmp_path / "eval.ckpt.mml").read_bytes() == before


def test_none_are_written_while_checkpointing_is_disabled(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpointing(Checkpointing(directory=tmp_path))

    def fail() -> None:
        with lab.exp.disable_checkpointing(), lab.exp.disable_checkpointing():
            lab.exp.run_phase(lab.evaluate())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    lab.exp.run_phase(lab.evaluate())
    assert list(lab.exp.available_checkpoints) == ["eval"]
    lab.exp.set_checkpointing(None)
    lab.exp.run_phase(lab.evaluate("other"))
    assert list(lab.exp.available_checkpoints) == ["eval"]


def test_without_a_folder_the_run_fails_and_says_what_to_do(lab: Any) -> None:
    lab.exp.set_checkpointing(Checkpointing())
    with pytest.raises(StateError, match="no folder for the checkpoint 'eval'.*set_checkpoint_dir"):
        lab.exp.run_phase(lab.evaluate())
    with pytest.raises(InvalidTypeError, match="must be a Checkpointing, got 'phase_end'"):
        lab.exp.set_checkpointing("phase_end")


# -- the store ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["lr0.1", "lr0.2", "a/b", "../up", "..", "über 日本", "con", "x" * 300, "%2F"]
)
def test_any_name_is_one_file_in_the_folder(lab: Any, tmp_path: Path, name: str) -> None:
    lab.exp.set_checkpoint_dir(tmp_path / "in")
    path = lab.exp.save_checkpoint(name)
    assert path.parent == tmp_path / "in"
    assert [*(tmp_path / "in").iterdir()] == [path]
    assert [*tmp_path.iterdir()] == [tmp_path / "in"]
    lab.exp.restore_checkpoint(name)
    other = lab.exp.save_checkpoint(name.replace("1", "2") + "!")
    assert other != path


def test_a_taken_name_needs_overwrite(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    lab.exp.save_checkpoint("a")
    with pytest.raises(InvalidValueError, match="'a' is there already"):
        lab.exp.save_checkpoint("a")
    assert lab.exp.save_checkpoint("a", overwrite=True) == tmp_path / "a.ckpt.mml"
    with pytest.raises(ModularMLError, match="label of a checkpoint"):
        lab.exp.save_checkpoint("")


def test_by_hand_goes_to_the_set_folder_else_to_the_policys(lab: Any, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no folder"):
        lab.exp.save_checkpoint("a")
    lab.exp.set_checkpointing(Checkpointing(directory=tmp_path / "policy"))
    assert lab.exp.save_checkpoint("a").parent == tmp_path / "policy"
    lab.exp.set_checkpoint_dir(tmp_path / "set")
    assert lab.exp.save_checkpoint("b").parent == tmp_path / "set"
    lab.exp.run_phase(lab.evaluate())
    assert lab.exp.available_checkpoints["eval"].parent == tmp_path / "policy"


def test_folders(lab: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        lab.exp.set_checkpoint_dir(file)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        lab.exp.set_checkpoint_dir(tmp_path / "a" / "b", create=False)
    assert not (tmp_path / "a").exists()
    lab.exp.set_checkpoint_dir(tmp_path / "a" / "b")
    lab.exp.save_checkpoint("mine")
    lab.exp.set_checkpoint_dir(tmp_path / "a" / "b")
    store = CheckpointStore("other")
    with pytest.warns(ModularMLWarning, match="1 checkpoint"):
        store.set_folder(tmp_path / "a" / "b", create=True)
    assert store.folder == tmp_path / "a" / "b"


def test_an_unknown_name_is_refused_with_the_nearest(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    path = lab.exp.save_checkpoint("after_training")
    with pytest.raises(UnknownNameError, match="'after_trainig'.*'lab'.*Did you mean 'after_training'"):
        lab.exp.restore_checkpoint("after_trainig")
    path.unlink()
    with pytest.raises(UnknownNameError, match="'after_training' of experiment 'lab' is gone"):
        lab.exp.restore_checkpoint("after_training")


# -- what is in them ---------------------------------------------------------------------


def test_a_restore_returns_to_everything(lab: Any, tmp_path: Path, digest_of: Callable[[Any], str]) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    phase = lab.train()
    lab.exp.run_phase(phase)
    lab.node.freeze()
    lab.exp.save_checkpoint("there", meta={"note": "β", "n": 1})
    before, history = lab.everything(), lab.exp.history
    lab.node.unfreeze()
    first = lab.exp.run_phase(phase).batch_losses().tolist()
    assert lab.everything() != before
    lab.exp.restore_checkpoint("there")
    assert lab.everything() == before
    assert lab.exp.history == history
    assert history[0].results.stacked_tensors("net").shape == (36, 1, 1)
    lab.node.unfreeze()
    assert lab.exp.run_phase(phase).batch_losses().tolist() == first


@pytest.mark.parametrize("moment", ["phase_start", "phase_end", "group_start", "group_end"])
def test_a_checkpoint_of_mid_run_continues_as_the_run_did(make_lab: Any, tmp_path: Path, moment: str) -> None:
    """Both phases use dropout and shuffling, so random numbers and epochs must be those of the moment."""
    policy = Checkpointing(save_on=moment, directory=tmp_path)
    lab = make_lab(checkpointing=policy)
    train = lab.train()
    lab.exp.run_group(PhaseGroup("first", [train]))
    lab.exp.run_group(PhaseGroup("g", [PhaseGroup("one", [lab.train("a")]), PhaseGroup("two", [train])]))
    weights = lab.weights()
    name = {"phase_start": "train_start", "phase_end": "a", "group_start": "two_start", "group_end": "one"}[
        moment
    ]
    lab.exp.set_checkpointing(None)
    lab.exp.restore_checkpoint(name)
    assert lab.exp.epochs_done == {"train": 2, "a": 2}
    lab.exp.run_phase(train)
    assert lab.weights() == weights


def test_a_checkpoint_between_two_epochs_continues_as_the_phase_did(make_lab: Any, tmp_path: Path) -> None:
    class Save(Callback):
        def on_epoch_end(self, *, experiment: Any, exec_ctx: Any, **_: Any) -> None:
            experiment.save_checkpoint(f"epoch {exec_ctx.epoch_idx}")

    lab = make_lab()
    lab.exp.set_checkpoint_dir(tmp_path)
    losses = lab.exp.run_phase(lab.train(n_epochs=5, callbacks=[Save()])).epoch_losses().tolist()
    for n_done in range(1, 5):
        lab.exp.restore_checkpoint(f"epoch {n_done - 1}")
        rest = lab.exp.run_phase(lab.train(n_epochs=5 - n_done))
        assert rest.epoch_losses().tolist() == losses[n_done:]


def test_the_checkpoint_of_a_phases_end_says_that_it_ended(make_lab: Any, tmp_path: Path) -> None:
    lab = make_lab()
    lab.exp.execution_plan.add_phase(lab.train()).add_phase(lab.evaluate())
    lab.exp.set_checkpointing(Checkpointing(save_on=["phase_end", "experiment_end"], directory=tmp_path))
    lab.exp.run()
    lab.exp.run_phase(lab.evaluate("alone"))
    paths = lab.exp.available_checkpoints
    other = make_lab()
    told = {}
    for name in ("train", "END", "alone"):
        other.exp.set_state({**other.exp.get_state(), "history": []})
        other.exp.restore_checkpoint(paths[name])
        told[name] = [(run.status, [p.status for p in run.phases]) for run in other.exp.history]
    whole = ("completed", ["completed", "completed"])
    assert told == {
        "train": [("interrupted", ["completed"])],
        "END": [whole],
        "alone": [whole, ("completed", ["completed"])],
    }


def test_ten_checkpoints_take_the_room_of_ten(lab: Any, tmp_path: Path) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    lab.exp.run_phase(lab.train())
    sizes = [lab.exp.save_checkpoint(f"c{i}").stat().st_size for i in range(10)]
    assert max(sizes) - min(sizes) < 200


def test_a_checkpoint_does_not_hold_the_outputs_of_runs(make_lab: Any, tmp_path: Path) -> None:
    sizes, outputs = [], 0
    for keeps in ("all", "none"):
        lab = make_lab(keeps)
        lab.exp.set_checkpoint_dir(tmp_path / keeps)
        results = lab.exp.run_phase(lab.train(n_epochs=200, result_recording=keeps))
        sizes.append(lab.exp.save_checkpoint("after").stat().st_size)
        outputs += results.stacked_tensors("net").nbytes if keeps == "all" else 0
    assert abs(sizes[0] - sizes[1]) < outputs / 10


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint_leaves_the_experiment_as_it_was(lab: Any, tmp_path: Path, keep: float) -> None:
    lab.exp.set_checkpoint_dir(tmp_path)
    path = lab.exp.save_checkpoint("a")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    lab.exp.run_phase(lab.train())
    before = lab.everything()
    with pytest.raises(InvalidValueError, match=r"a\.ckpt\.mml"):
        lab.exp.restore_checkpoint("a")
    assert lab.everything() == before


def test_the_checkpoint_of_another_graph_leaves_the_experiment_as_it_was(
    make_lab: Any, tmp_path: Path
) -> None:
    from modularml.models.torch import SequentialMLP

    wide = make_lab("wide", model=SequentialMLP(output_shape=(1, 1), hidden_dim=9))
    wide.exp.set_checkpoint_dir(tmp_path)
    path = wide.exp.save_checkpoint("a")
    lab = make_lab()
    lab.exp.run_phase(lab.train())
    before = lab.everything()
    with pytest.raises(ModularMLError):
        lab.exp.restore_checkpoint(path)
    assert lab.everything() == before
