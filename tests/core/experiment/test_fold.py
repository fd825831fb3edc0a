import numpy as np


def test_scalers_see_the_training_rows_of_their_fold_alone(study, watched):
    _, seen = watched(study)
    for _, mean, _ in seen:
        assert np.allclose(mean, 0, atol=1e-6)


def test_scalers_that_were_fitted_to_all_rows_leak_nothing_either(study, watched):
    study.data.undo_all_transforms()
    study.data.fit_transform("StandardScaler", domain="features")
    _, seen = watched(study)
    assert len(seen) == 5
    for _, mean, _ in seen:
        assert np.allclose(mean, 0, atol=1e-6)


def test_a_split_of_a_divided_split_is_made_anew_of_its_new_rows(study, watched):
    study.data["train"].split_random({"early": 0.5, "late": 0.5})
    _, seen = watched(study)
    for rows, _, _ in seen:
        assert np.array_equal(np.sort(np.concatenate([rows["early"], rows["late"]])), np.sort(rows["train"]))
