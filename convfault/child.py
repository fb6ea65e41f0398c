"""What runs inside the process of a job: calls the job's function and sends events to the parent.

``convfault.process`` starts it as ``python -m convfault.child`` and gives the job as one line of JSON on the standard
input. Imports nothing but the standard library at its top; ``convfault.process`` says why.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from convfault import errors

Event = dict[str, Any]

_events: TextIO | None = None


def report(event: str, **values: Any) -> None:
    """Inside a job: send an event to the parent (does nothing when called outside of one)."""
    if _events is not None:
        _events.write(json.dumps({"event": event, **values}) + "\n")
        _events.flush()


def wait_for_go() -> None:
    """Inside a job: announce ``ready`` and block until the parent says go (returns at once outside of one)."""
    if _events is None:
        return
    report("ready")
    if not sys.stdin.readline():
        os._exit(1)


def main() -> None:
    """Run the job that the parent sends, and end the process; the argument is the descriptor that events go to."""
    global _events
    if sys.version_info < (3, 11):  # noqa: UP036 -- older ones know no PYTHONSAFEPATH and begin with the working directory
        sys.path.pop(0)
    _events = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    job = json.loads(sys.stdin.readline())
    _die_with_parent(job["parent"])
    event = _ended(job["function"], job["arguments"])
    sys.stdout.flush()
    sys.stderr.flush()
    report(**event)
    _events.close()
    os._exit(0)  # skip the exit handlers of native libraries, which hang or crash often enough


def _ended(function: str, arguments: dict[str, Any]) -> Event:
    """The last event: what the function returned or raised."""
    try:
        name, _, attribute = function.partition(":")
        return {"event": "result", "value": getattr(importlib.import_module(name), attribute)(**arguments)}
    except BaseException as error:  # whatever a foreign library raises is data to the parent
        traceback.print_exc()
        return _error_event(error)


def _die_with_parent(parent: int) -> None:
    """Watch the parent: when it is gone (even by SIGKILL) this process goes too, with all that it started."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _error_event(error: BaseException) -> Event:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        error = errors.StorageError("no space left on the disk: free some, or set CONVFAULT_CACHE to another place")
    record = errors.to_record(error) if isinstance(error, errors.ConvfaultError) else None
    text = str(error) if record else f"{type(error).__name__}: {error}"
    return {"event": "error", "message": text.strip()[:4000], "convfault": record}


if __name__ == "__main__":
    # Under ``-m`` this file is the module __main__, but functions report through convfault.child: let that one run.
    importlib.import_module("convfault.child").main()
