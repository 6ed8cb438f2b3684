"""One service per data folder: two record servers never write one append-only file."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.exits import CommandError, Exit
from sightline.serving.folder import DataFolder
from tests.support.typed import parsed


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


@pytest.mark.parametrize("last", ["os.pwrite", "tempfile.TemporaryFile"])
def test_folder_on_a_full_disk_is_named_and_free_again(
    last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without bytes is still made there, and the lock may get the last of the room."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(last, refuse)
        with pytest.raises(CommandError, match=f"{tmp_path} cannot be written: No space left") as caught:
            DataFolder(tmp_path).lock(wait_s=0)

    assert caught.value.code is Exit.DATA
    os.close(DataFolder(tmp_path).lock(wait_s=0))


def test_a_home_folder_that_no_shell_wrote_out_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As zsh does not in `make run DATA=~/jobs`; who tidies up a folder called `~` may lose their own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for command in ("run", "doctor"):
        assert parsed([command, "--data", "~/jobs"])["data"] == tmp_path / "jobs"


def test_callers_pictures_in_a_folder_of_the_checkout_are_not_committed(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)  # noqa: S607
    os.close(DataFolder(tmp_path / "more").lock(wait_s=0))
    (tmp_path / "more/blobs/picture").touch()
    seen = ["git", "-C", str(tmp_path), "status", "--porcelain"]
    assert subprocess.run(seen, capture_output=True, text=True, check=True).stdout == ""


def test_a_folder_of_somebody_s_own_gets_no_rules_for_git(tmp_path: Path) -> None:
    os.close(DataFolder(tmp_path).lock(wait_s=0))
    assert not (tmp_path / ".gitignore").exists()


def test_other_users_of_the_machine_read_no_job_and_no_secret(tmp_path: Path) -> None:
    """Nor what an earlier version wrote for all to read, in folders that were open to all."""
    (tmp_path / "data/redis/appendonlydir").mkdir(parents=True)
    for name in ("data", "data/redis"):
        (tmp_path / name).chmod(0o755)
    os.close(DataFolder(tmp_path / "data").lock(wait_s=0))
    for name in ("", "redis", "blobs", "logs"):
        assert (tmp_path / "data" / name).stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data/lock").stat().st_mode & 0o777 == 0o600


def test_a_folder_for_all_stays_one(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    os.close(DataFolder(tmp_path).lock(wait_s=0))
    assert tmp_path.stat().st_mode & 0o7777 == 0o1777
    assert (tmp_path / "redis").stat().st_mode & 0o777 == 0o700
