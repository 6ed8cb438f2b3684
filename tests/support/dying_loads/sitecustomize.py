"""On the PYTHONPATH of a service: workers of models called dies/HOW end so while their model is loaded."""

import os
import signal
import sys

KINDS = {"segv": signal.SIGSEGV, "kill": signal.SIGKILL}
if not {"worker", "worker.fork_server"}.isdisjoint(sys.orig_argv):
    from worker.engines.base import Engine
    from worker.engines.echo import EchoEngine

    loaded = EchoEngine.load

    def load(engine: EchoEngine) -> Engine:
        owner, _, how = os.environ.get("SIGHTLINE_WORKER__MODEL", "").partition("/")
        if owner != "dies":
            return loaded(engine)
        if how == "memory":
            raise MemoryError
        if how == "hang":
            # Holds the main thread as a lost network disk would.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            signal.sigwait({signal.SIGUSR1})
        os.kill(os.getpid(), KINDS[how])
        raise AssertionError("it goes on")

    EchoEngine.load = load  # type: ignore[method-assign,assignment]
