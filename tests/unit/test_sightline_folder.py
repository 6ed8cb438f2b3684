"""One service per data folder: two record servers never write one append-only file."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.exits import CommandError, Exit
from sightline.serving.folder import DataFolder


def test_second_service_on_one_folder_is_told_who_holds_it(tmp_path: Path) -> None:
    fd = DataFolder(tmp_path).lock(wait_s=0)

    with pytest.raises(CommandError, match=f"in use by process {os.getpid()} ?: stop that one") as caught:
        DataFolder(tmp_path).lock(wait_s=60)

    assert caught.value.code is Exit.DATA
    os.close(fd)
    os.close(DataFolder(tmp_path).lock(wait_s=0))


def test_folder_stays_locked_while_a_record_server_outlives_its_supervisor(tmp_path: Path) -> None:
    supervisor = (
        "import subprocess, sys; from pathlib import Path; from sightline.serving.folder import DataFolder\n"
        "fd = DataFolder(Path(sys.argv[1])).lock(0)\n"
        "subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], pass_fds=(fd,))\n"
    )
    read, write = os.pipe()
    subprocess.run([sys.executable, "-c", supervisor, str(tmp_path)], stdin=read, check=True)
    os.close(read)

    with pytest.raises(CommandError, match="is in use by process"):
        DataFolder(tmp_path).lock(wait_s=0)

    os.close(write)
    os.close(DataFolder(tmp_path).lock(wait_s=20))


def test_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CommandError, match="cannot be written: Not a directory") as caught:
        DataFolder(tmp_path / "file").lock(wait_s=0)

    assert caught.value.code is Exit.DATA


def test_folder_on_a_full_disk_is_named_and_free_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without bytes is still made there."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", refuse)
        with pytest.raises(CommandError, match=f"{tmp_path} cannot be written: No space left") as caught:
            DataFolder(tmp_path).lock(wait_s=0)

    assert caught.value.code is Exit.DATA
    os.close(DataFolder(tmp_path).lock(wait_s=0))
