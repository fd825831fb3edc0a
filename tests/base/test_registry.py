import pytest

from modularml.base.errors import UnknownNameError
from modularml.base.registry import Registry


@pytest.fixture
def registry() -> Registry[type]:
    found: Registry[type] = Registry("sampler")
    found.register(int, "SimpleSampler")
    return found


@pytest.mark.parametrize("name", ["SimpleSampler", "simplesampler", "SIMPLESAMPLER"])
def test_case_does_not_count(registry: Registry[type], name: str) -> None:
    assert registry[name] is registry.get(name) is int
    assert name in registry
    registry[name] = str
    assert dict(registry) == {"SimpleSampler": str}
    del registry[name]
    assert name not in registry
    assert not registry


def test_a_class_registers_under_its_name_and_can_be_decorated(registry: Registry[type]) -> None:
    @registry.register
    class Other:
        pass

    assert registry[Other.__qualname__] is Other


def test_an_unknown_name_is_told_with_the_nearest(registry: Registry[type]) -> None:
    with pytest.raises(UnknownNameError, match="Unknown sampler 'Simpel.*Did you mean 'SimpleSampler'"):
        registry["SimpelSampler"]
    with pytest.raises(UnknownNameError, match="Unknown sampler"):
        del registry["other"]
    assert registry.get("other") is None
    assert registry.get("other", float) is float
    assert 3 not in registry
