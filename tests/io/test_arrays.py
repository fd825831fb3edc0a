"""An array member is a real safetensors file, and one that lies is refused."""

import json

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from modularml.base.errors import FileFormatError
from modularml.io.arrays import describe, from_buffer, to_buffers


def member_of(array):
    return b"".join(bytes(buffer) for buffer in to_buffers(array))


def with_header(header, data=bytes(24)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(dtype="F64", shape=(3,), offsets=(0, 24)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "dtype", ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", "c16", "U3"]
)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 3)])
def test_safetensors_reads_what_is_written(dtype, shape):
    array = np.ones(shape, dtype)
    found = safetensors_numpy.load(member_of(array))["array"]
    if dtype in ("c16", "U3"):
        assert found.tobytes() == array.tobytes()
    else:
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


def test_data_is_aligned_and_contiguous_data_is_not_copied():
    array = np.arange(100.0)
    header, body = to_buffers(array)
    assert len(header) % 64 == 0
    assert np.shares_memory(np.frombuffer(body), array)


@pytest.mark.parametrize(
    "array", [np.arange(6).reshape(2, 3).T, np.arange(9)[::3], np.arange(4, dtype=">i4")]
)
def test_other_orders_of_bytes_come_back_as_the_same_values(array):
    dtype, shape = describe(array)
    np.testing.assert_array_equal(from_buffer(memoryview(member_of(array)), dtype, shape, "test"), array)


@pytest.mark.parametrize(
    "member",
    [
        b"",
        bytes(7),
        (2**63).to_bytes(8, "little") + bytes(100),
        (1000).to_bytes(8, "little") + bytes(100),
        with_header(b"{}"),
        with_header(b"not json"),
        with_header(b'{"array": {}, "array": {}}'),
        with_header({"array": tensor(), "other": tensor()}),
        with_header({"array": tensor(), "__metadata__": {"a": "b"}}),
        with_header({"array": tensor(shape=(4,))}),
        with_header({"array": tensor(shape=(-3,))}),
        with_header({"array": tensor(shape=(3.0,))}, bytes(16)),
        with_header({"array": tensor(shape=(3, 2**62))}),
        with_header({"array": tensor(dtype="F32")}),
        with_header({"array": tensor(dtype="object")}),
        with_header({"array": tensor(offsets=(8, 32))}),
        with_header({"array": tensor(offsets=(0, 2**63))}),
        with_header({"array": tensor(offsets=(24, 0))}),
        with_header({"array": tensor()}, bytes(16)),
        with_header({"array": tensor()}, bytes(32)),
        with_header(b" " * 10_000_000 + json.dumps({"array": tensor()}).encode()),
        with_header({"array": tensor("F64", (1,) * 5000)}),
    ],
)
def test_a_header_that_lies_is_refused(member):
    with pytest.raises(FileFormatError, match="some member"):
        from_buffer(memoryview(member), "<f8", [3], "some member")


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("|O", [3]), ("O", [3]), ("object", [3]), ("<f8,<f8", [3]), ("V8", [3]), (None, [3]), (["<f8"], [3]),
        ("<M8[os.system]", [3]), ("<U99999999999", [3]), ("<M8[99999999999999999999s]", [3]),
        ("<f8", None), ("<f8", [3.0]),
        ("<f8", [True]), ("<f8", [-1, -3]), ("<f8", ["3"]), ("<f8", [3] + [1] * 70), ("<f8", [0, 2**70]),
        ("<f8", 3),
        (">f8", [3]), ("<c8", [3]), ("<U6", [2]),
    ],
)  # fmt: skip
def test_a_dtype_or_shape_that_lies_is_refused(dtype, shape):
    with pytest.raises(FileFormatError, match="some member"):
        from_buffer(memoryview(with_header({"array": tensor()})), dtype, shape, "some member")


def test_a_bool_is_nothing_but_0_and_1():
    header = {"array": tensor("BOOL", (3,), (0, 3))}
    assert from_buffer(memoryview(with_header(header, b"\0\1\1")), "|b1", [3], "").tolist() == [
        False,
        True,
        True,
    ]
    with pytest.raises(FileFormatError, match="other than 0 and 1"):
        from_buffer(memoryview(with_header(header, b"\0\1\2")), "|b1", [3], "some member")
