"""Tests that draw their examples take the time that they need, and draw the same each time.

Hypothesis gives an example 0.2 s, and all drawing 1 s, which a busy machine misses at times. Of what a test
draws and `assume` then refuses it takes no fifty before ten good ones, which the dice miss at times.
"""

import gc
import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import redis.utils
from httpx import create_ssl_context
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from tests.support import own_folders
from tests.support.random_draws import decided_by_seed

ONE_PROCESS = (
    "tests/attempt/test_big_pictures",
    "tests/contract/",
    "tests/e2e/test_page",
    "tests/e2e/",
    "tests/engines/continuous/",
    "tests/engines/",
    "tests/safety/",
)
"""Files that share a service or models, which each process that runs some of them would start or make.

Browser tests take half of e2e's time: one process with all of it would be the last to end.
"""
LONGEST = (*ONE_PROCESS, "tests/installation/")
"""What keeps one process for minutes. With one of these at the end the others would wait for it."""
DEPLOYMENT = (
    "tests/e2e/test_board",
    "tests/e2e/test_page",
    "tests/installation/test_containers",
    "tests/installation/test_object_store",
    "tests/installation/test_observed",
    "tests/installation/test_package",
    "tests/installation/test_production",
    "tests/unit/deployment/",
)
"""A browser, containers, Kubernetes, Prometheus, nginx, packages, and how benchmarks judge."""
THOROUGH = (
    "tests/attempt/test_big_pictures",
    "tests/contract/",
    "tests/e2e/test_map",
    "tests/engines/continuous/test_prefill",
    "tests/engines/continuous/test_verify",
    "tests/engines/test_catalogue",
    "tests/engines/test_families_crowd",
    "tests/engines/test_flat_positions",
    "tests/engines/test_remote_device",
    "tests/installation/test_chaos",
    "tests/installation/test_docs",
    "tests/installation/test_dying_loads",
    "tests/installation/test_failover",
    "tests/installation/test_models",
    "tests/installation/test_runbook",
    "tests/safety/",
    "tests/store/machine/",
    "tests/store/test_sentinels",
    "tests/training/",
)
"""What takes minutes and finds what the rest lets through once in a while."""
SLOW = (
    "tests/routes/test_batch_",
    "tests/routes/test_batches",
    "tests/routes/test_behaviour",
    "tests/routes/test_disconnects",
    "tests/routes/test_documents",
    "tests/routes/test_full_store",
    "tests/routes/test_https",
    "tests/routes/test_nginx",
    "tests/routes/test_openapi",
    "tests/routes/test_page_jobs",
    "tests/routes/test_protocol",
    "tests/routes/test_real_store",
    "tests/routes/test_shutdown",
    "tests/routes/test_sightline_jobs",
    "tests/routes/test_tenants",
    "tests/routes/test_tools",
    "tests/unit/shared/test_blobs",
    "tests/unit/shared/test_traces",
    "tests/unit/sightline/test_doctor",
    "tests/unit/sightline/test_entry",
    "tests/unit/sightline/test_fork_server",
    "tests/unit/sightline/test_model_download",
    "tests/unit/sightline/test_node",
    "tests/unit/sightline/test_processes",
    "tests/unit/sightline/test_terminal",
)
"""What `make test-quick` leaves out: it takes seconds, or it needs what fakeredis lacks."""
MARKED = {"deployment": DEPLOYMENT, "thorough": THOROUGH, "slow": SLOW}
FORMS = {"llava", "qwen2.5-vl", "gemma3", "mllama", "qwen3.5"}
"""A family for each way in which text sees pictures: the others are tried where all tests run."""

# Taken before the libraries are imported that read where the home is.
OWN = own_folders.take()

# All servers of these tests are on this machine, and no proxy of its user reaches them.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

# A shell ignores Ctrl-C for what it runs in the background, and so would the commands that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Read when torch is imported: processes with a thread for each processor would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "patient",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
)
settings.load_profile("patient")

# A quarter of the time of collecting tests goes into searching modules for garbage; there is none.
gc.disable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What the marks leave out is not imported: that would take as long as some minutes of tests."""
    if config.args != config.getini("testpaths") and "not slow" not in config.option.markexpr:
        return None
    left_out = [paths for mark, paths in MARKED.items() if f"not {mark}" in config.option.markexpr]
    path = str(collection_path.relative_to(config.rootpath))
    return any(path.startswith(paths) for paths in left_out) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
    for item in items:
        for mark, paths in MARKED.items():
            if item.nodeid.startswith(paths):
                item.add_marker(mark)
        if _families(item) - FORMS:
            item.add_marker("thorough")


def _families(item: pytest.Item) -> set[str]:
    """By the name of their class, whose module imports torch."""
    params = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return {value.name for value in params if type(value).__name__ == "Family"}


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _redis_version_read_once() -> Iterator[None]:
    """The client reads its own package's metadata for each connection, which takes longer than to connect."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("redis.utils.get_lib_version", cache(redis.utils.get_lib_version))
        yield


@pytest.fixture(scope="session", autouse=True)
def _certificates_read_once() -> Iterator[None]:
    """Each HTTP client reads all certificate authorities, which takes longer than a test's calls."""
    with pytest.MonkeyPatch.context() as patch:
        create = create_ssl_context
        shared = cache(lambda trust_env, _: create(trust_env=trust_env))

        def context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> Any:
            named = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
            own = verify is not True or cert is not None
            return create(verify, cert, trust_env) if own else shared(trust_env, named)

        patch.setattr("httpx._transports.default.create_ssl_context", context)
        yield


@pytest.fixture(scope="session", autouse=True)
def _decided_by_seed() -> Iterator[None]:
    with decided_by_seed():
        yield


@pytest.fixture
def hangup_heard() -> Iterator[None]:
    """By this process and those that it starts, also where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class SharedScheduling(LoadFileScheduling):  # type: ignore[misc]
    """File by file, as `--dist loadfile` does; those that share something go to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return next((shared for shared in ONE_PROCESS if file.startswith(shared)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedScheduling | None:
    return SharedScheduling(config, log) if config.getoption("dist") == "loadfile" else None
