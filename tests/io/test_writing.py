"""A file is whole or not there, whatever ends its writing."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from modularml.io.archive import write_archive
from modularml.io.codec import load, save


def test_a_file_is_replaced_only_when_asked(tmp_path):
    path = save(tmp_path / "a", "model", 1)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save(path, "model", 2)
    assert load(path, "model") == 1
    assert load(save(path, "model", 2, overwrite=True), "model") == 2


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        save(tmp_path / "nowhere" / "a", "model", 1)


def test_the_mode_of_a_file_follows_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        path = save(tmp_path / "a", "model", 1)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither fork nor limits on the size of files")
@pytest.mark.parametrize("mode", ["die_at_call", "die_at_byte", "fail_at_byte"])
def test_a_killed_or_failed_save_leaves_the_old_file_or_the_new_one(tmp_path, mode):
    script = Path(__file__).with_name("killed.py")
    subprocess.run([sys.executable, script, mode, tmp_path], check=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_whatever_ends_a_save_early_leaves_nothing_behind(tmp_path, error):
    def members():
        yield "a.json", [b"1"]
        raise error("stop")

    path = save(tmp_path / "a", "model", 1)
    with pytest.raises(error, match="stop"):
        write_archive(path, "model", members(), overwrite=True)
    assert list(tmp_path.iterdir()) == [path]
    assert load(path, "model") == 1


def test_whoever_reads_while_others_save_finds_one_of_the_files_whole(tmp_path):
    path = save(tmp_path / "a", "model", np.zeros(1000))

    def write(value):
        for _ in range(20):
            save(path, "model", np.full(1000, float(value)), overwrite=True)

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, value) for value in range(3)]
        while not all(writer.done() for writer in writers):
            found = load(path, "model")
            assert np.all(found == found[0])
        for writer in writers:
            writer.result()
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_an_error(tmp_path):
    (tmp_path / "a.md.mml").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        save(tmp_path / "a", "model", 1, overwrite=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.md.mml"]
