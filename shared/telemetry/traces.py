"""One trace for a job's whole way: its request, the line, each attempt with its steps, the calls of webhooks.

Off unless SIGHTLINE_TRACES__URL is set: while off nothing is imported and nothing kept. A *carrier* is a
place in a trace as it is passed on, in records too: W3C's `traceparent` and, after a blank, its `tracestate`,
if any; "" for none.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Literal, Protocol

from shared.settings import Settings, SettingsError

Kind = Literal["internal", "client", "producer", "consumer"]
Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]
NONE: Attributes = MappingProxyType({})


class Span(Protocol):
    """A part of a trace, while it lasts."""

    def tell(self, attributes: Attributes) -> None: ...

    def event(self, name: str, at_ns: int) -> None:
        """Something that happened in it, at a time in Unix ns."""

    def fail(self, why: str) -> None:
        """Mark it as failed; `why` is a code and never a message, which may repeat what a caller sent."""


class Traces(Protocol):
    """What `shared.telemetry.otlp` does where traces are on."""

    def span(
        self, name: str, kind: Kind, attributes: Attributes, carrier: str | None, began_ns: int | None
    ) -> AbstractContextManager[Span]: ...

    def here(self) -> str: ...

    def trace_id(self) -> str: ...

    def tell(self, attributes: Attributes) -> None: ...

    def link(self, carrier: str) -> None: ...

    def close(self) -> None: ...


class _Nothing:
    def tell(self, attributes: Attributes) -> None: ...

    def event(self, name: str, at_ns: int) -> None: ...

    def fail(self, why: str) -> None: ...


_NOTHING = _Nothing()
_open: list[Traces] = []


def check_traces(settings: Settings) -> None:
    """Raises SettingsError where traces are on and their packages are not installed."""
    if not settings.traces.url:
        return
    try:
        import shared.telemetry.otlp  # noqa: F401
    except ImportError as error:
        message = "SIGHTLINE_TRACES__URL: traces need packages that are not installed"
        fix = ".venv/bin/python -m pip install -c constraints.txt -e '.[traces]'"
        raise SettingsError(f"{message} ({error.name}): {fix}") from None


def open_traces(settings: Settings, service: str) -> None:
    """Begin to send what this process does, under the name of its service. Raises SettingsError."""
    check_traces(settings)
    if settings.traces.url:
        from shared.telemetry.otlp import Otlp

        _open[:] = [Otlp(settings.traces.url, service)]


def close_traces() -> None:
    """Send what is left. Call at the process's end."""
    while _open:
        _open.pop().close()


@contextmanager
def span(
    name: str,
    attributes: Attributes = NONE,
    *,
    kind: Kind = "internal",
    carrier: str | None = None,
    began_ns: int | None = None,
) -> Iterator[Span]:
    """A span for a block, a child of this thread's or task's span, or of a carrier's.

    `carrier` "" begins a trace of its own; `began_ns` is for work that began before the block did.
    """
    if not _open:
        yield _NOTHING
        return
    with _open[0].span(name, kind, attributes, carrier, began_ns) as begun:
        yield begun


def here() -> str:
    """The carrier of the span that this thread or task is in."""
    return _open[0].here() if _open else ""


def trace_id() -> str:
    """The trace id of the span that this thread or task is in; "" without one."""
    return _open[0].trace_id() if _open else ""


def tell(attributes: Attributes) -> None:
    """Add attributes to the span that this thread or task is in."""
    if _open:
        _open[0].tell(attributes)


def link(carrier: str) -> None:
    """Link the span that this thread or task is in to another trace that shares its work."""
    if _open and carrier:
        _open[0].link(carrier)
