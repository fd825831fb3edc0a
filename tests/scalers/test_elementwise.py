"""Signs: dropped, turned, and put back."""

import numpy as np
import pytest

from modularml.base.errors import InvalidValueError, StateError
from modularml.scalers import Absolute, Negate


def test_what_they_do() -> None:
    X = np.array([[1.0, -2.0], [0.0, 3.0]])
    assert Negate().fit(X).transform(X).tolist() == (-X).tolist()
    assert Absolute().fit(X).transform(X).tolist() == [[1, 2], [0, 3]]


def test_signs_belong_to_the_array_that_was_transformed_last() -> None:
    absolute = Absolute()
    with pytest.raises(StateError, match="nothing"):
        absolute.inverse_transform(np.ones((2, 2)))
    absolute.transform(np.full((2, 2), -1.0))
    assert (absolute.inverse_transform(np.full((2, 2), 5.0)) == -5).all()
    with pytest.raises(InvalidValueError, match=r"2 samples.*\(3, 2\)"):
        absolute.inverse_transform(np.ones((3, 2)))
