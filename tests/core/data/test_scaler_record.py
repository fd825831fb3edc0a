import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modularml.base.errors import InvalidValueError
from modularml.core.data.scaler_record import flatten


@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=4), data=st.data())
def test_flattened_data_are_restored(shape: list[int], data: st.DataObject) -> None:
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    axes = data.draw(
        st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=len(shape) - 1, unique=True)
    )
    flat, restore = flatten(values, axes)
    assert flat.ndim == 2
    assert np.array_equal(restore(flat), values)


@pytest.mark.parametrize("axes", [(), (3,), (0, 1, 2), (-4,)])
def test_axes_that_are_not_there_are_refused(axes: tuple[int, ...]) -> None:
    with pytest.raises(InvalidValueError, match="axes 0 to 2"):
        flatten(np.zeros((2, 3, 4)), axes)
