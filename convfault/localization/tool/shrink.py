"""From a model that a converter fails on to a small one that it fails on in the same way."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convfault import process
from convfault.cache import Cache
from convfault.converters import install
from convfault.converters.route import Hop
from convfault.localization.tool import cut_tflite, reduction
from convfault.model import Model

SECONDS, TRIALS = 120.0, 60
KINDS = 4
"""So many kinds of operator are named."""
JOB = "convfault.localization.tool.reduction:run"


@dataclass(frozen=True)
class Shrunk:
    """A small model that fails as the whole one does.

    ``nodes`` are its (operator, name), ``of`` how many the whole model has, ``trials`` how many conversions it took.
    """

    model: Model
    nodes: tuple[tuple[str, str], ...]
    of: int
    trials: int

    @property
    def operators(self) -> str:
        """Its kinds of operator in order of computation, in one line."""
        kinds = list(dict.fromkeys(operator for operator, _ in self.nodes))
        return " → ".join([*kinds[:KINDS], "…"] if len(kinds) > KINDS else kinds)

    def __str__(self) -> str:
        return f"smallest: {len(self.nodes)} of {self.of} nodes, {self.operators}"


def shrink(
    hop: Hop, source: Model, folder: Path, cache: Cache, *, hints: Sequence[str] = (), ending: str = "error"
) -> Shrunk | None:
    """Shrink ``source``, on which ``hop`` fails, into the existing ``folder``; None where that does not work.

    ``hints``: names and operators that the tool's message mentions. ``ending``: ``error``: the tool raises; ``crash``:
    it kills its process, so each trial has one of its own; ``unreadable``: it writes what its runtime cannot open.
    Takes up to ``SECONDS``; what is found by then counts.
    """
    converter = hop.converter
    if source.format not in reduction.CUTTERS:
        return None
    work = Path(tempfile.mkdtemp(prefix="convfault-shrink-"))
    plan = {"folder": str(work), "hints": list(hints), "seconds": SECONDS, "trials": TRIALS}
    plan |= {"isolated": ending == "crash", "runtime": converter.target if ending == "unreadable" else ""}
    plan |= {"filename": converter.filename, "format": converter.target_format, "python": sys.executable}
    home = converter.home()
    plan |= {"environment": {name: os.environ.get(name, "") for name in (home.variables if home else ())}}
    options = converter.with_defaults(hop.options)
    arguments = {"convert": converter.convert, "source": source.to_record(), "options": options, "plan": plan}
    job = process.Job(JOB, arguments, stage=f"shrink for {converter.tool}", seconds=SECONDS + 30, log=work / "log.txt")
    try:
        job = at_home(job, hop, cache)
        process.run(replace(job, environment={**job.environment, **cut_tflite.where()}))
        return _kept(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def at_home(job: process.Job, hop: Hop, cache: Cache) -> process.Job:
    """The job by the interpreter that the hop's converter runs in, whose environment is made if it is not there."""
    home = hop.converter.home()
    if home is None:
        return job
    install.install(home, cache, lambda event: None)
    python, package = str(home.interpreter(cache)), install.package_folder(cache)
    return replace(job, python=python, environment=home.variables, import_from=package)


def _kept(work: Path, folder: Path) -> Shrunk | None:
    """The smallest model, moved to ``folder``."""
    found = work / reduction.RESULT
    if not found.is_file():
        return None
    record: Mapping[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    model = Model.from_record(record["model"])
    path = folder / Path(model.path).name
    if path.exists():
        path.unlink()
    shutil.move(model.path, path)
    nodes = tuple((str(operator), str(name)) for operator, name in record["nodes"])
    return Shrunk(replace(model, path=str(path)), nodes, int(record["of"]), int(record["trials"]))
