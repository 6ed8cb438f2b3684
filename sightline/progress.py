"""Progress bars with rate and time left, on standard error of a terminal; a script is shown none."""

import sys

from rich import progress as parts
from rich.console import Console
from rich.text import Text

from sightline.terminal import is_terminal, note, plain, show_piece


class Bar(parts.Progress):
    """One bar, of bytes or of any other parts, that goes when its work ends."""

    def __init__(self, doing: str, *, of_bytes: bool = False) -> None:
        transfer = (parts.DownloadColumn(), parts.TransferSpeedColumn())
        super().__init__(
            parts.TextColumn("{task.description}", markup=False),
            parts.BarColumn(),
            *(transfer if of_bytes else (_Count(),)),
            parts.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            disable=not is_terminal(sys.stderr),
        )
        self._task = self.add_task(doing, total=None)

    def show(self, done: int, total: int | None, doing: str | None = None) -> None:
        self.update(self._task, completed=done, total=total, description=doing and plain(doing))


class PlaceBar(Bar):
    """Why a job waits: a bar until its text begins, else lines."""

    _told = ""
    begun = False

    def tell(self, news: str) -> None:
        """Show a comment of the stream, such as `queued: busy, 3 ahead`; a line only if it has changed."""
        if self.live.is_started:
            self.show(0, None, news)
        elif news != self._told and not (self.begun and news == "running"):
            note(news)
        self._told = news

    def emit(self, piece: str) -> None:
        self.stop()
        self.begun = True
        show_piece(piece)


class _Count(parts.ProgressColumn):
    """How many of how many, and how many a second."""

    def render(self, task: parts.Task) -> Text:
        done = f"{task.completed:.0f}/{task.total:.0f}" if task.total else ""
        rate = f" {task.speed:.1f}/s" if task.speed else ""
        return Text(done + rate, "progress.download")
