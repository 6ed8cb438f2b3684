"""Checks this machine: the port, the data folder and its disk, the blob store, and who may call."""

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from shared.blobs import Blobs
from shared.settings import ApiSettings, BlobSettings, SettingsError
from sightline.doctor.check import Check, ok, problem, warning
from sightline.service_client import is_loopback
from sightline.serving.folder import try_writing

MAKE_ROOM = "make room on that disk, or shorten SIGHTLINE_RETENTION__RESULT_S and SIGHTLINE_RETENTION__FILE_S"
LITTLE, SCARCE = 5 * 2**30, 2**29
"""Free bytes of a disk below which the doctor warns, and below which nothing should be started."""


def check_port(host: str, port: int, *, answers: bool) -> Check:
    """`answers` means that Sightline itself answers on the port."""
    if answers:
        return ok("port", f"Sightline answers on {host} port {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return ok("port", f"{host} port {port} is free")
    except OSError as error:
        whose = _listener(port) or os.strerror(error.errno or 0)
        fix = "end that program, or choose another port: --port 8080"
        return problem("port", f"{host} port {port} cannot be used: {whose}", fix)


def _listener(port: int) -> str | None:
    """The process that listens on the port, as far as this user may see."""
    try:
        pids = [
            row.pid
            for row in psutil.net_connections("tcp")
            if row.status == psutil.CONN_LISTEN and row.laddr.port == port and row.pid
        ]
        return f"process {pids[0]} ({psutil.Process(pids[0]).name()}) has it" if pids else None
    except (psutil.Error, OSError):
        return None


def check_data(data: Path, free: Callable[[Path], int] | None = None) -> Iterator[Check]:
    """The folder of jobs, pictures and logs, which need not exist yet; only `sightline run` has one."""
    there = next(path for path in (data, *data.resolve().parents) if path.exists())
    if error := _unwritable(there):
        fix = f"give this user the right to write there (chown), or choose another: --data, not {there}"
        yield _refused("data folder", str(data), error, fix)
    else:
        yield _room("data folder", data, (free or _free)(there))


def _room(about: str, folder: Path, free: int) -> Check:
    """`free` in bytes."""
    finding = f"{folder} can be written, {free / 2**30:.1f} GiB are free"
    if free < SCARCE:
        return problem(about, finding, MAKE_ROOM)
    return warning(about, finding, MAKE_ROOM) if free < LITTLE else ok(about, finding)


def _refused(about: str, name: str, error: OSError, fix: str) -> Check:
    """`fix` is the advice for any error but a full disk."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    finding = f"{name} cannot be written: {os.strerror(error.errno or 0)}"
    return problem(about, finding, MAKE_ROOM if full else fix)


def check_blobs(blobs: BlobSettings, free: Callable[[Path], int] | None = None) -> Iterator[Check]:
    """The blob store, if the settings name one."""
    if "url" not in blobs.model_fields_set:
        return
    folder = blobs.folder
    if folder is None:
        yield _check_bucket(blobs)
    elif error := _unwritable(folder):
        fix = "make it, and let api, workers and couriers write there"
        yield _refused("pictures", f"SIGHTLINE_BLOBS__URL: {folder}", error, fix)
    else:
        yield _room("pictures", folder, (free or _free)(folder))


def _check_bucket(blobs: BlobSettings) -> Check:
    try:
        if Blobs(blobs).probe() == "reachable":
            return ok("pictures", f"{blobs.url} lets us look into it")
        finding = f"{blobs.url} is out of reach, or does not let us look into it"
    except SettingsError as error:
        finding = str(error)
    fix = "see docs/object-store.md: its name, and the credentials of the environment"
    return problem("pictures", finding, fix)


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _unwritable(folder: Path) -> OSError | None:
    """The error of a trial write; None where it works."""
    try:
        try_writing(folder)
    except OSError as error:
        return error
    return None


def check_access(api: ApiSettings, host: str, *, keyed: bool = False) -> Iterator[Check]:
    """Who may call the API where it listens; `keyed`: the one that runs there asks for keys."""
    if keyed or api.admin_key is not None:
        yield ok("access", "the API asks for keys")
        if api.tls_cert is None and not is_loopback(host):
            fix = "set SIGHTLINE_API__TLS_CERT and _TLS_KEY, or put a proxy with TLS in front"
            yield warning("transport", f"keys travel to {host} in the clear", fix)
    elif is_loopback(host):
        # The API may also listen on other addresses, where it refuses everybody without keys.
        yield ok("access", f"without keys an API answers this machine alone on {host}")
    elif api.open:
        fix = "set SIGHTLINE_API__ADMIN_KEY in place of SIGHTLINE_API__OPEN"
        yield warning("access", f"whoever reaches {host} may use everything, administration too", fix)
    else:
        fix = "set SIGHTLINE_API__ADMIN_KEY (32 characters or more; docs/keys.md)"
        yield problem(
            "access", f"the API is to listen on {host}, and without keys it answers nobody there", fix
        )
