"""Makes files as an attacker would: digests and sizes are right, the rest need not be."""

import hashlib
import json
import zipfile

import pytest

from modularml.io.archive import FORMAT, MANIFEST


def describe(members):
    """Return the manifest that tells the truth about `members`."""
    listed = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in members.items()
    }
    return {"format": FORMAT, "kind": "model", "versions": {}, "members": listed}


@pytest.fixture
def forge(tmp_path):
    """Give a function that writes members and their manifest to a zip and returns its path.

    It takes bytes or a JSON tree for each member, by name; what to change in the manifest,
    or what to write instead; how zipfile is to store; and what to do with each `ZipInfo`.
    """

    def write(members, *, described=None, method=zipfile.ZIP_STORED, change=lambda info: None):
        path = tmp_path / "forged.md.mml"
        members = {
            name: data if isinstance(data, bytes) else json.dumps(data).encode()
            for name, data in members.items()
        }
        manifest = describe(members)
        manifest = {**manifest, **(described or {})} if isinstance(described, dict | None) else described
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in {**members, MANIFEST: json.dumps(manifest).encode()}.items():
                info = zipfile.ZipInfo(name)
                info.compress_type = method
                change(info)
                archive.writestr(info, data)
        return path

    return write


@pytest.fixture
def unpack():
    """Give a function that returns the members of a file but its manifest."""

    def read(path):
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist() if name != MANIFEST}

    return read
