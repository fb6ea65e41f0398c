"""The same cells on a Dask cluster: Dask decides who does what and when, and does again what a lost worker had.

Workers need convfault and the tools, and the cache at one path that all of them see (``CONVFAULT_CACHE``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convfault import errors
from convfault.errors import MissingPackageError, UsageError
from convfault.matrix import outcomes
from convfault.matrix.executor import cell_job
from convfault.matrix.outcomes import Attempt
from convfault.matrix.plan import Step, Task
from convfault.process import Outcome, run

if TYPE_CHECKING:
    from distributed import Client, Future

RESOURCE = "megabytes"
"""Workers started with ``--resources megabytes=…`` take no more cells at once than fit."""
PATIENCE = "20s"


def attempts(
    tasks: Sequence[Task], address: str, function: str, arguments: Mapping[str, Any]
) -> Iterator[tuple[Task, Attempt]]:
    """Try the tasks on the cluster whose scheduler is at ``address``; each as it ends.

    A task that goes on from what another one makes is given that one's result, so that Dask lets it wait.
    Raises ``UsageError`` when nobody answers there, or when all cells meet the same mistake.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise MissingPackageError(
            'distributed, which --cluster needs, is not installed: pip install "convfault[cluster]"'
        ) from None
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"no Dask scheduler answers at {address}: {error}; start one with: dask scheduler") from error
    with client:
        by_key = _submitted(client, tasks, function, arguments)
        for future in as_completed(by_key):
            task = by_key[future]
            yield task, _concluded(future, task)


def _submitted(
    client: Client, tasks: Sequence[Task], function: str, arguments: Mapping[str, Any]
) -> dict[Future, Task]:
    limited, makers = _limited(client), dict[str, Any]()
    found: dict[Future, Task] = {}
    for task in tasks:
        before = list({makers[step.name].key: makers[step.name] for step in task.steps if step.name in makers}.values())
        job = {"cell": task.cell.to_record(), **arguments}
        future = client.submit(
            attempt,
            function,
            job,
            before,
            key=f"convfault-{task.cell.key}-{task.fingerprint}",
            pure=False,
            resources={RESOURCE: _expected(task)} if limited else None,
        )
        for step in task.steps:
            makers.setdefault(step.name, future)
        found[future] = task
    return found


def attempt(function: str, arguments: Mapping[str, Any], before: Sequence[Any]) -> dict[str, Any]:
    """On a worker: try one cell in a process of its own; how that ended, as a record."""
    del before  # what it goes on from lies in the cache
    from convfault.process import Job

    ended = run(Job(function, arguments, "try a cell"))
    error = errors.to_record(ended.error) if ended.error is not None else None
    values = {name: getattr(ended, name) for name in FIELDS}
    return {**values, "error": error}


FIELDS = ("status", "value", "message", "log", "seconds", "peak_megabytes", "stage")


def _concluded(future: Future, task: Task) -> Attempt:
    record = dict(future.result())
    error = errors.from_record(record["error"]) if record["error"] else None
    return outcomes.conclude(task.cell, Outcome(**{**record, "error": error}))
