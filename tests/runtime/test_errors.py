"""Errors of the system as sentences: which path, and on a full disk how much room is left."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prime_core.runtime.errors import (
    first_line,
    is_full,
    is_own,
    naming_the_disk,
    owner_number,
    refuse_read_only,
    refuse_unusable,
    sentence,
)

# Weights of 1 MB, as a stage saves them.
SAVE = """
import sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from prime_core.run.atomic import atomic_folder
from prime_core.runtime.errors import sentence
try:
    with atomic_folder(Path(sys.argv[1]) / "policy") as folder:
        save_file({"weight": np.zeros(2**18, np.float32)}, folder / "model.safetensors")
except OSError as error:
    print(sentence(error))
"""


def said(shell: str, place: Path) -> str:
    """What saving weights in this folder says, in a shell that has made it too small."""
    command = ["sh", "-c", f"{shell} && exec {sys.executable} -c '{SAVE}' {place}"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_a_full_disk_is_named_with_folder_and_room_when_weights_are_written(tmp_path):
    shell = (
        f'unshare --mount sh -c "mount -t tmpfs -o size=256k none {tmp_path} && exec \\"\\$@\\"" -'
    )
    command = f"exec {shell} {sys.executable} -c '{SAVE}' {tmp_path}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    text = done.stdout + done.stderr
    if "mount:" in text or "unshare:" in text:
        pytest.skip("no mount namespaces here")
    assert text.startswith(f"{tmp_path}/policy: No space left on device, ")
    assert text.endswith(" free\n")


def test_a_limit_on_files_is_named_likewise(tmp_path):
    text = said("ulimit -f 100", tmp_path)  # blocks of 512 bytes
    assert text.startswith(f"{tmp_path}/policy: File too large, ")
    assert text.endswith(" free\n")
    assert not (tmp_path / "policy").exists()


def test_errors_of_the_system_keep_their_file_or_get_the_path(tmp_path):
    with pytest.raises(FileNotFoundError, match="inner"), naming_the_disk(tmp_path / "outer"):
        (tmp_path / "inner").read_text()
    with pytest.raises(OSError, match="Read-only") as caught, naming_the_disk(tmp_path / "outer"):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    assert sentence(caught.value) == f"{tmp_path}/outer: Read-only file system"
    with pytest.raises(RuntimeError, match="a rank is lost"), naming_the_disk(tmp_path):
        raise RuntimeError("a rank is lost")


def test_torchs_writer_has_lost_the_systems_error_and_means_a_full_disk(tmp_path):
    error = RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0")
    assert is_full(error)
    with (
        pytest.raises(OSError, match=r"No space left on device, .* free"),
        naming_the_disk(tmp_path),
    ):
        raise error


def test_a_full_disk_without_a_path_says_which_there_are():
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    expected = "No space left on device (the run's folder, /tmp or /dev/shm)"
    assert sentence(full) == expected


def test_an_error_without_words_is_named_by_its_kind():
    assert first_line(ValueError("")) == "ValueError"
    assert first_line(ValueError("one\ntwo")) == "one"


def test_a_folder_that_can_be_written_is_not_refused(tmp_path):
    refuse_read_only(tmp_path)


def test_what_is_not_there_yet_is_ones_own(tmp_path):
    assert is_own(tmp_path / "run")
    assert owner_number(tmp_path / "run") == os.geteuid()
    assert owner_number(Path("/proc/1")) == 0
    refuse_unusable(tmp_path / "run" / "of" / "many")


def test_a_file_in_a_folders_place_is_refused_by_name(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as error:
        refuse_unusable(tmp_path, tmp_path / "file" / "run")
    assert sentence(error.value) == f"{tmp_path / 'file'}: is a file; expected a folder"
