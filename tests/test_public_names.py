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


SHOWN = {
    "Experiment": """
        add_callback as_estimator available_checkpoints best_checkpoints checkpoint_meta
        checkpointing diff disable_checkpointing execution_plan exp_callbacks feature_sets
        from_active_context from_config from_yaml get_config get_state history is_running
        last_run load model_graph preview_group preview_phase preview_run remove_callback
        request_stop restore_checkpoint resume run run_group run_phase save save_checkpoint
        set_checkpoint_dir set_checkpointing set_state status to_yaml
    """,
    "ModelGraph": """
        add_node backend build chain compile diagram forward freeze from_yaml frozen_nodes
        get_optimizer_parameters get_state head_nodes insert_node_after insert_node_before
        insert_node_between is_built load node_labels nodes optimizer predict remove_node
        replace_node reset_state restore_checkpoint save save_checkpoint set_state summary
        tail_nodes to_build to_torch_module to_yaml topological_nodes unfreeze upstreams
        visualize
    """,
    "ModelNode": """
        add_upstream_ref backend build build_model can_learn context dtype featureset_refs
        forward forward_single freeze frozen_by get_upstream_refs has_sparse_gradients
        input_dtypes input_shape input_shapes is_built is_frozen kind label module node_refs
        optimizer output_name output_names output_shape reference remove_upstream_ref
        reset_weights set_upstream_ref set_upstream_refs shape_of_output takes_list unfreeze
        upstream_ref
    """,
    "FeatureSet": """
        add_split available_splits chunks clear_splits collection column column_reference
        columns context copy diagram filter fit_transform from_arrow from_config from_df
        from_dict from_numpy from_pandas from_pyarrow_table from_torch get_all_keys get_config
        get_data get_feature_dtypes get_feature_keys get_feature_shapes get_features
        get_overlap_with get_sample_uuids get_split get_state get_tag_dtypes get_tag_keys
        get_tag_shapes get_tags get_target_dtypes get_target_keys get_target_shapes get_targets
        is_disjoint_with iter_scalers_on_cols label leakage load n_samples n_splits overlap
        reference rows save scale scaler_records select set_state source split
        split_by_condition split_random splits splitter_records summary table take
        take_difference take_intersection take_sample_uuids to_arrow to_featureset to_pandas
        to_sample_collection to_sample_data to_torch_dataset to_view undo_all_transforms
        undo_last_transform unscale_data_for_cols visualize
    """,
    "TrainPhase": """
        active_nodes add_callback checkpointing diagram execute freezes_graph from_config
        from_split from_yaml get_config is_epoch_end kind label n_epochs nodes remove_callback
        request_stop set_checkpointing settings to_yaml visualize
    """,
    "EvalPhase": """
        active_nodes add_callback checkpointing diagram execute freezes_graph from_config
        from_split from_yaml get_config kind label n_epochs nodes remove_callback settings
        to_yaml visualize
    """,
    "FitPhase": """
        active_nodes add_callback checkpointing diagram execute freezes_graph from_config
        from_split from_yaml get_config kind label n_epochs nodes remove_callback settings
        to_yaml visualize
    """,
    "PhaseGroup": """
        add_eval add_eval_phase add_evaluation add_fit add_fit_phase add_group add_item
        add_items add_phase add_train add_train_phase add_training all clear flatten from_config
        from_yaml get_config get_eval_phase get_group get_phase get_train_phase is_fold items
        keeps_weights label parts phase_groups phases remove_group remove_item remove_items
        remove_phase to_yaml
    """,
    "CrossValidation": """
        all flatten from_config from_yaml get_config is_fold keeps_weights label parts run
        status to_yaml
    """,
}
"""What Tab shows: what people call and read, and what the phases of their own override."""


@pytest.mark.parametrize("name", SHOWN)
def test_tab_shows_what_people_call_and_no_more(name: str) -> None:
    shown = [known for known in dir(getattr(modularml, name)) if not known.startswith("_")]
    assert shown == SHOWN[name].split()


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
