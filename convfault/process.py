"""Run a function in a process of its own, so that what it loads can crash, hang or leak without harm.

Every foreign library works behind this one door: converters, framework sessions, zoo builders. The function is
named ``"module:function"``, takes keyword arguments that JSON can hold and returns what JSON can hold; arrays
travel as files. Inside it, ``report(...)`` sends progress to the parent and ``wait_for_go()`` blocks until the
parent calls ``Worker.go()``.

This file is the parent's half, ``convfault.child`` what runs inside the process. Both, and the files of the converters,
import nothing but the standard library at their top, because they are also imported in environments where a converter's
own pins rule and convfault's dependencies are absent (Python 3.10 up).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convfault import errors
from convfault.child import Event, report, wait_for_go

__all__ = ["Event", "Job", "OnEvent", "Outcome", "Worker", "report", "run", "wait_for_go"]

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Job:
    """What to run: ``function`` is ``"module:function"``, ``seconds`` and ``megabytes`` its limits (None: none).

    ``stage`` names the work in messages ("convert with tf2onnx"); ``python`` is the interpreter to use;
    ``stall_seconds`` is how long it may go without sending an event once it is waited for;
    ``log`` receives all that the function and its libraries print (a temporary file when None).
    ``import_from`` is a folder that holds nothing but the package convfault: an interpreter with packages of its own
    imports convfault from there, and sees neither what is installed beside it here nor the user's PYTHONPATH.
    """

    function: str
    arguments: Mapping[str, Any]
    stage: str = "run"
    python: str = sys.executable
    seconds: float | None = None
    stall_seconds: float | None = None
    megabytes: float | None = None
    log: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    import_from: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """How a job ended. ``status``: ``ok``, ``error`` (it raised), ``crash`` (signal or exit), ``timeout``, ``memory``.

    ``value`` is what the function returned; ``message`` is the first line a person needs; ``log`` the tail of what
    was printed; ``peak_megabytes`` the largest resident set.
    """

    status: str
    value: Any
    message: str
    log: str
    seconds: float
    peak_megabytes: float
    stage: str = "run"
    error: errors.ConvfaultError | None = None

    def unwrap(self) -> Any:
        """The value, or the convfault error that was raised, or ``SubjectError`` for whatever else went wrong."""
        if self.status == "ok":
            return self.value
        if self.error is not None:
            raise self.error
        raise errors.SubjectError(self.message, self.status, self.stage, self.log)

    def of_our_own(self) -> Any:
        """The value of a job that runs nothing foreign: what it raises is a defect of convfault, not of the subject."""
        if self.status == "error" and self.error is None:
            defect = RuntimeError(self.message)
            defect.add_note(self.log)
            raise defect
        return self.unwrap()


class Worker:
    """A started job. Use as a context manager: leaving it kills what still runs."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._log = job.log or Path(tempfile.mkstemp(prefix="convfault-", suffix=".log")[1])
        self._temporary_log = job.log is None
        read, write = os.pipe()
        self._started = time.monotonic()
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [job.python, "-m", "convfault.child", str(write)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(write,),
                start_new_session=True,
                env=_environment(job),
            )
        os.close(write)
        self._pipe, self._lines, self._rest = read, list[bytes](), b""
        self._peak = 0.0
        self._outcome: Outcome | None = None
        self._record: Event = {}
        self._send(json.dumps({"function": job.function, "arguments": dict(job.arguments), "parent": os.getpid()}))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died at start; finish() says so

    def go(self) -> None:
        """Release a function that blocks in ``wait_for_go()``."""
        self._send("go")

    def finish(self, on_event: OnEvent | None = None) -> Outcome:
        """Wait for the end, passing each progress event on; kills the job at its limits or when interrupted."""
        if self._outcome is None:
            status = self._follow(on_event or (lambda event: None), until=None)
            self._outcome = self._conclude(status)
        return self._outcome

    def wait_until(self, name: str, on_event: OnEvent | None = None) -> bool:
        """Wait for the event ``name``; False when the job ended (or broke a limit) without sending it."""
        status = self._follow(on_event or (lambda event: None), until=name)
        if status == "reached":
            return True
        self._outcome = self._conclude(status)
        return False

    def _follow(self, on_event: OnEvent, until: str | None) -> str:
        """Read events until the pipe closes ("ended"), a limit breaks ("timeout", "memory") or ``until`` comes."""
        heard = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while True:
                while self._lines:
                    event: Event = json.loads(self._lines.pop(0))
                    if event["event"] in {"result", "error"}:
                        self._record = event
                    else:
                        on_event(event)
                    if event["event"] == until:
                        return "reached"
                if broken := self._broken_limit(heard):
                    return broken
                if selector.select(timeout=0.2):
                    heard = time.monotonic()
                    if not self._read_lines():
                        return "ended"

    def _read_lines(self) -> bool:
        """Take what the pipe holds; False at its end. Lines queue up here, not in a buffer that select cannot see."""
        data = os.read(self._pipe, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(lines)
        return bool(data)

    def _broken_limit(self, heard: float) -> str | None:
        self._peak = max(self._peak, _resident_megabytes(self._process.pid))
        now, job = time.monotonic(), self.job
        if job.seconds is not None and now - self._started > job.seconds:
            return "timeout"
        if job.stall_seconds is not None and now - heard > job.stall_seconds:
            return "stall"
        if job.megabytes is not None and self._peak > job.megabytes:
            return "memory"
        return None

    def _conclude(self, status: str) -> Outcome:
        if status != "ended":
            self._kill()
        code = self._reap()
        seconds = time.monotonic() - self._started
        record, log = self._record, _tail(self._log)
        shared: dict[str, Any] = {"log": log, "seconds": seconds, "peak_megabytes": self._peak, "stage": self.job.stage}
        stage = self.job.stage
        if status == "timeout":
            return Outcome("timeout", None, f"{stage}: no end after {self.job.seconds:.0f} s", **shared)
        if status == "stall":
            return Outcome("timeout", None, f"{stage}: no sign of life for {self.job.stall_seconds:.0f} s", **shared)
        if status == "memory":
            return Outcome("memory", None, f"{stage}: used more than {self.job.megabytes:.0f} MB", **shared)
        if record.get("event") == "result":
            return Outcome("ok", record["value"], "", **shared)
        if record.get("event") == "error":
            known = errors.from_record(record["convfault"]) if record.get("convfault") else None
            return Outcome("error", None, record["message"], error=known, **shared)
        return Outcome("crash", None, f"{stage}: {_death(code)}{_last_words(log)}", **shared)

    def _reap(self) -> int:
        try:
            return self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # libraries' threads can hold a finished process open
            self._kill()
            return self._process.wait()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill what still runs and release the pipes."""
        if self._process.poll() is None:
            self._kill()
            self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        os.close(self._pipe)
        if self._temporary_log:
            self._log.unlink(missing_ok=True)


def run(job: Job, on_event: OnEvent | None = None) -> Outcome:
    """Run one job to its end."""
    with Worker(job) as worker:
        return worker.finish(on_event)


def _environment(job: Job) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(_import_paths(job)),
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1" if job.import_from else os.environ.get("PYTHONNOUSERSITE", ""),
        "PYTHONUNBUFFERED": "1",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1"),
        "CUDA_VISIBLE_DEVICES": "",
        **job.environment,
    }


def _import_paths(job: Job) -> list[str]:
    if job.import_from is not None:
        return [str(job.import_from)]
    path = os.environ.get("PYTHONPATH")
    return [str(Path(__file__).resolve().parent.parent), *([path] if path else [])]


def _resident_megabytes(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as status:
            return int(status.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError, ValueError):
        return 0.0


def _tail(path: Path, size: int = 20_000) -> str:
    try:
        with open(path, "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - size))
            return log.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _death(code: int) -> str:
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"ended with exit code {code}"


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return f" ({lines[-1][:300]})" if lines else ""
