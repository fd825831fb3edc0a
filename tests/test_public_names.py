"""The names that users see: what is exported is pinned here, resolves, and says what it is."""

import ast
import importlib
from importlib.metadata import version
from pathlib import Path

import pytest

import modularml

PINNED = [
    "Accelerator",
    "AppliedLoss",
    "ArtifactResult",
    "AxisSeries",
    "Backend",
    "BaseModel",
    "Batch",
    "BatchView",
    "CVBinding",
    "CVResults",
    "Callback",
    "CallbackResult",
    "Checkpointing",
    "ConcatNode",
    "CrossValidation",
    "DataFormat",
    "EarlyStopping",
    "EvalLossMetric",
    "EvalPhase",
    "EvalResults",
    "Evaluation",
    "EvaluationMetric",
    "Experiment",
    "ExperimentCallback",
    "ExperimentContext",
    "ExperimentNodeReference",
    "ExperimentRun",
    "FeatureSet",
    "FeatureSetColumnReference",
    "FeatureSetReference",
    "FeatureSetSplitReference",
    "FeatureSetView",
    "FitPhase",
    "FitResults",
    "FunctionNode",
    "GraphNodeReference",
    "InputBinding",
    "Loss",
    "MeanNode",
    "MergeNode",
    "MergeStrategy",
    "MetricCallback",
    "MetricResult",
    "ModelGraph",
    "ModelNode",
    "ModelOutputReference",
    "Optimizer",
    "OutputMetric",
    "PhaseGroup",
    "PhaseGroupResults",
    "RegistrationPolicy",
    "ResultRecording",
    "ResultsConfig",
    "RoleData",
    "SampleCollection",
    "SampleData",
    "SampleShapes",
    "SampledView",
    "Scaler",
    "Schedule",
    "ScikitModelWrapper",
    "SimilarityCondition",
    "SumNode",
    "TorchBaseModel",
    "TorchModelWrapper",
    "TrainPhase",
    "TrainResults",
    "compare",
    "config_schema",
    "inspect",
    "scaler_registry",
    "supported_scalers",
    "wrap_model",
]


def test_the_exported_names_are_the_pinned_ones() -> None:
    assert sorted(modularml.__all__) == sorted(["__version__", *PINNED])


@pytest.mark.parametrize("name", PINNED)
def test_every_name_resolves_and_has_a_docstring(name: str) -> None:
    value = getattr(modularml, name)
    assert value.__doc__
    assert getattr(modularml, name) is value


def test_the_table_for_type_checkers_is_the_one_that_is_used() -> None:
    tree = ast.parse(Path(modularml.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    homes = {(alias.name, alias.asname): node.module for node in imports for alias in node.names}
    assert homes == {(n, n): f"modularml.{home}" for n, home in modularml._HOMES.items()}


@pytest.mark.parametrize("name", modularml._PACKAGES)
def test_packages_can_be_reached_without_an_import_of_their_own(name: str) -> None:
    assert getattr(modularml, name) is importlib.import_module(f"modularml.{name}")


def test_dir_lists_what_there_is_and_no_more() -> None:
    assert set(dir(modularml)) == {"__version__", *PINNED, *modularml._PACKAGES}


def test_tab_on_an_experiment_shows_what_people_call_and_no_more() -> None:
    shown = """
    add_callback as_estimator available_checkpoints best_checkpoints checkpoint_meta checkpointing
    diff disable_checkpointing execution_plan exp_callbacks feature_sets from_active_context
    from_config from_yaml get_config get_state history is_running last_run load model_graph
    preview_group preview_phase preview_run remove_callback request_stop restore_checkpoint resume
    run run_group run_phase save save_checkpoint set_checkpoint_dir set_checkpointing set_state
    status to_yaml
    """
    assert [name for name in dir(modularml.Experiment) if not name.startswith("_")] == shown.split()


def test_a_misspelt_name_is_told_with_the_nearest_one() -> None:
    with pytest.raises(
        AttributeError, match=r"no attribute 'ExperimentContex'\. Did you mean 'ExperimentContext'\?"
    ):
        modularml.ExperimentContex  # noqa: B018


def test_a_name_like_no_other_is_told_without_a_guess() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'load'\. Experiment.load, FeatureSet.load"):
        modularml.load  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'zzzz'\.$"):
        modularml.zzzz  # noqa: B018


def test_the_version_is_the_distributions() -> None:
    assert modularml.__version__ == version("modularml-jupyter")
