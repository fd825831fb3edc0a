"""A file of each kind whose digests an attacker made right is refused, by file and member; nothing runs."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from modularml.base.errors import FileFormatError
from modularml.io.archive import read_manifest
from modularml.io.codec import load
from modularml.io.names import SUFFIXES

V1 = Path(__file__).parents[1] / "formats" / "v1"


class Canary:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("attack", ["pickle", "missing", "unknown"])
def test_each_member_that_is_not_what_it_was_is_refused(
    forge: Any, unpack: Any, tmp_path: Path, kind: str, attack: str
) -> None:
    path = V1 / f"kept{SUFFIXES[kind]}"
    members, canary = unpack(path), tmp_path / "canary"
    assert set(members) == set(read_manifest(path).members)
    for name in members:
        changed = dict(members)
        if attack == "pickle":
            changed[name] = pickle.dumps(Canary(canary))
        elif attack == "missing":
            del changed[name]
        else:
            name = f"{name}.pkl"
            changed[name] = pickle.dumps(Canary(canary))
        forged = forge(changed, described={"kind": kind})
        with pytest.raises(FileFormatError, match=re.escape(repr(name))) as told:
            load(forged, kind, look=True) if attack == "missing" else load(forged, kind)
        assert forged.name in str(told.value)
        assert not canary.exists()


WHOLE: dict[str, tuple[dict[str, bytes], dict[str, Any], str]] = {
    "link": ({}, {"change": lambda info: setattr(info, "external_attr", 0o120777 << 16)}, "tree.json"),
    "compressed": ({}, {"method": zipfile.ZIP_DEFLATED}, "tree.json"),
    "leads elsewhere": ({"../../evil.json": b"1"}, {}, "../../evil.json"),
    "absolute": ({"/evil.json": b"1"}, {}, "/evil.json"),
    "newer": ({}, {"described": {"format": 99}}, "format 99"),
}


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("attack", WHOLE)
def test_a_file_that_is_forged_as_a_whole_is_refused(forge: Any, unpack: Any, kind: str, attack: str) -> None:
    more, how, told = WHOLE[attack]
    how = {**how, "described": {"kind": kind, **how.get("described", {})}}
    forged = forge({**unpack(V1 / f"kept{SUFFIXES[kind]}"), **more}, **how)
    with pytest.raises(FileFormatError, match=f"{re.escape(forged.name)}.*{re.escape(told)}"):
        load(forged, kind)
