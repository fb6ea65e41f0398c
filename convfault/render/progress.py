"""Progress as bars on a terminal: phase, share done, pictures a second, time left."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from convfault.render import wording


class TerminalProgress:
    """Shows every phase that goes on, on the error stream; safe to call from several threads.

    A context manager: the bars vanish when it is left, so that only the summary stays. A phase that was never started
    or is finished already may be told of again; it is left out.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._tasks: dict[str, TaskID] = {}
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            _Amount(),
            _Pace(),
            TimeElapsedColumn(),
            console=console or Console(stderr=True),
            transient=True,
            expand=True,
        )

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def start(self, phase: str, total: int | None) -> None:
        """Begin a phase; ``total`` None shows a bar that only moves."""
        if phase in self._tasks:
            self.finish(phase)
        self._tasks[phase] = self._bars.add_task(wording.printable(phase), total=total)

    def update(self, phase: str, done: int) -> None:
        """``done`` of the total, not what came on top."""
        if phase in self._tasks:
            self._bars.update(self._tasks[phase], completed=done)

    def finish(self, phase: str) -> None:
        """The phase is over: its bar goes."""
        if phase in self._tasks:
            self._bars.remove_task(self._tasks.pop(phase))


class _Amount(ProgressColumn):
    """``128/320``, nothing where no total is known."""

    def __init__(self) -> None:
        super().__init__()
        self._column = MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        return self._column.render(task) if task.total else Text()


class _Pace(ProgressColumn):
    """``52/s, 4 s left``, once it can be known."""

    def render(self, task: Task) -> Text:
        speed, left = task.speed, task.time_remaining
        if not task.total or not speed or left is None:
            return Text()
        pace = f"{speed:.0f}/s" if speed >= 9.5 else f"{speed:.1f}/s"
        return Text(f"{pace}, {wording.duration(left)} left", style="dim")
