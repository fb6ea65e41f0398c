"""The same cells on a Dask cluster: Dask decides who does what and when, and does again what a lost worker had.

Workers need convfault and the tools, the user's files at the same paths, and one cache that all of them see
(``CONVFAULT_CACHE``, or the client's path).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convfault import errors
from convfault.cache import key
from convfault.errors import MissingPackageError, UsageError
from convfault.matrix import outcomes
from convfault.matrix.outcomes import Attempt
from convfault.matrix.plan import Task
from convfault.process import Job, Outcome, run

if TYPE_CHECKING:
    from distributed import Client, Future

RESOURCE = "megabytes"
"""Workers started with ``--resources megabytes=…`` take no more cells at once than fit."""
PATIENCE = "20s"
FIELDS = ("status", "value", "message", "log", "seconds", "peak_megabytes", "stage")


def attempts(
    tasks: Sequence[Task], address: str, function: str, arguments: Mapping[str, Any], stall_seconds: float | None
) -> Iterator[tuple[Task, Attempt]]:
    """Try the tasks on the cluster whose scheduler is at ``address``; each as it ends.

    Raises ``UsageError`` when nobody answers there, or for a mistake that all cells would meet alike.
    """
    with _client(address) as client:
        from distributed import as_completed

        lent = _lent(client)
        given = {"function": function, "arguments": dict(arguments), "stall_seconds": stall_seconds}
        tried = _submitted(client, tasks, given, lent)
        ending = as_completed(list(tried), loop=client.loop)
        for future in ending:
            task, alone = tried.pop(future)
            if future.status in {"cancelled", "lost"}:
                raise UsageError(
                    f"the Dask scheduler at {address} was lost: start it and call again; what ended is kept"
                )
            error = future.exception()
            if error is None:
                yield task, _concluded(task, future.result())
            elif alone:
                yield task, Attempt(outcomes.lost(task.cell, str(error)))
            else:  # perhaps only what it waited for was lost
                again = _submit(client, task, (), {**given, "alone": True}, lent)
                tried[again] = (task, True)
                ending.add(again)


def _client(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError:
        raise MissingPackageError(
            'distributed, which --cluster needs, is not installed: pip install "convfault[cluster]"'
        ) from None
    try:
        return Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {address} ({error}): start one with 'dask scheduler'"
        ) from error


def _lent(client: Client) -> float | None:
    """The megabytes that the largest worker lends; None unless every worker says how many it does."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    lent = [worker.get("resources", {}).get(RESOURCE) for worker in workers]
    return max(lent) if lent and None not in lent else None


def _submitted(
    client: Client, tasks: Sequence[Task], given: Mapping[str, Any], lent: float | None
) -> dict[Future[Any], tuple[Task, bool]]:
    """Every task with whether it waits for none: one that goes on from what others make gets those as arguments."""
    makers, found = dict[str, Any](), dict[Any, tuple[Task, bool]]()
    for task in tasks:
        before = tuple(dict.fromkeys(makers[step.name] for step in task.steps if step.name in makers))
        future = _submit(client, task, before, given, lent)
        for step in task.steps:
            makers.setdefault(step.name, future)
        found[future] = (task, not before)
    return found


def _submit(
    client: Client, task: Task, before: Sequence[Future[Any]], given: Mapping[str, Any], lent: float | None
) -> Future[Any]:
    expected = max([task.megabytes, *(step.megabytes for step in task.steps)])
    return client.submit(
        attempt,
        task.cell.to_record(),
        dict(given),
        list(before),
        key=f"convfault-{task.cell.key}-{key(task.fingerprint, given)}",
        # what no worker has room for takes the largest one alone, instead of waiting for ever
        resources=None if lent is None else {RESOURCE: min(expected, lent)},
    )


def attempt(cell: Mapping[str, Any], given: Mapping[str, Any], before: Sequence[Any]) -> dict[str, Any]:
    """On a worker: try one cell in a process of its own; how that ended, as a record.

    ``before`` are the results that it waited for: what it goes on from lies in the cache.
    """
    from distributed import get_worker

    arguments = {"cell": dict(cell), **given["arguments"]}
    if own := os.environ.get("CONVFAULT_CACHE"):
        arguments["cache"] = own
    threads = max(1, (os.cpu_count() or 1) // get_worker().state.nthreads)
    job = Job(
        given["function"],
        arguments,
        "try a cell",
        stall_seconds=given["stall_seconds"],
        environment={"CONVFAULT_THREADS": str(threads)},
    )
    ended = run(job)
    error = errors.to_record(ended.error) if ended.error is not None else None
    return {**{name: getattr(ended, name) for name in FIELDS}, "error": error}


def _concluded(task: Task, record: Mapping[str, Any]) -> Attempt:
    error = errors.from_record(record["error"]) if record["error"] else None
    return outcomes.conclude(task.cell, Outcome(**{**record, "error": error}))
