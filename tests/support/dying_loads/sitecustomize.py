"""On the PYTHONPATH of a service: workers of models called dies/HOW end so while their model is loaded."""

import os
import signal

KINDS = {"segv": signal.SIGSEGV, "kill": signal.SIGKILL}
owner, _, how = os.environ.get("SIGHTLINE_WORKER__MODEL", "").partition("/")
if owner == "dies":
    from worker.engines.echo import EchoEngine

    def load(_: EchoEngine) -> EchoEngine:
        if how == "memory":
            raise MemoryError
        if how == "hang":
            # Holds the main thread as a lost network disk would.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            signal.sigwait({signal.SIGUSR1})
        os.kill(os.getpid(), KINDS[how])
        raise AssertionError("it goes on")

    EchoEngine.load = load  # type: ignore[method-assign,assignment]
