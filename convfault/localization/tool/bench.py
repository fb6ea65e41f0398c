"""A workbench: a process that does one kind of work again and again, so that its libraries load once.

This file runs in the environments of converters, too: standard library only at the top, Python 3.10 up.
"""

from __future__ import annotations

import functools
import importlib
import json
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from convfault import process
from convfault.converters import base

REQUEST, ANSWER = "request.json", "answer.json"


def serve(work: str, settings: Mapping[str, Any], folder: str) -> None:
    """Job: answer one request after the other, until the parent goes.

    ``work`` is ``"module:factory"``, whose call with ``settings`` gives the function that each request is handed to.
    """
    module, _, name = work.partition(":")
    act: Callable[..., Any] | None = None
    while True:
        process.wait_for_go()
        try:
            act = act or getattr(importlib.import_module(module), name)(**settings)
            record = {"answer": act(**json.loads(Path(folder, REQUEST).read_text(encoding="utf-8")))}
        except Exception:  # of the subject: the next request may fare better
            traceback.print_exc()
            record = {"answer": None}
        Path(folder, ANSWER).write_text(json.dumps(record), encoding="utf-8")


def converting(convert: str) -> Callable[..., dict[str, Any]]:
    """Work: one converter's function, for requests of ``source``, ``target`` and ``options``."""
    return functools.partial(base.run, convert)


def job(work: str, settings: Mapping[str, Any], folder: Path) -> process.Job:
    """What a ``Bench`` runs; ``work`` and ``settings`` as in ``serve``, ``folder`` is made."""
    folder.mkdir(parents=True)
    arguments = {"work": work, "settings": dict(settings), "folder": str(folder)}
    return process.Job("convfault.localization.tool.bench:serve", arguments, log=folder / "log.txt")


class Bench:
    """The parent's half; a context manager, whose end ends the process. ``until`` is when, of ``time.monotonic``."""

    def __init__(self, job: process.Job, until: float) -> None:
        self.job, self.until = job, until
        self.folder = Path(job.arguments["folder"])
        self._worker: process.Worker | None = None

    def ask(self, **request: Any) -> Any:
        """The answer; None where the work failed, killed its process (the next request gets a new one) or took long."""
        (self.folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")
        worker = self._worker or self._started()
        if worker is not None:
            worker.go()
            if worker.wait_until("ready"):
                return json.loads((self.folder / ANSWER).read_text(encoding="utf-8"))["answer"]
        self.close()
        return None

    def _started(self) -> process.Worker | None:
        seconds = self.until - time.monotonic()
        if seconds <= 0:
            return None
        self._worker = process.Worker(replace(self.job, seconds=seconds))
        return self._worker if self._worker.wait_until("ready") else None

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
