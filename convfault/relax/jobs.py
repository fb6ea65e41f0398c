"""What runs in a process of its own: import a model to Relax, keep its canonical graph, and run it in TVM."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convfault.batches import Batches
from convfault.errors import ConvfaultError
from convfault.model import Model
from convfault.preprocessing import Preprocessing
from convfault.relax import store
from convfault.relax.canonical import canonical
from convfault.relax.execute import Executable
from convfault.relax.import_model import import_model
from convfault.relax.imported import Imported, first_line

ANSWERS, REFUSAL = "answers.npz", "answers.json"


def view(
    model: Mapping[str, Any],
    folder: str,
    batches: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    rows: Sequence[int],
) -> dict[str, Any]:
    """Job: the canonical graph of a model, and what TVM answers on some rows of the data, kept in ``folder``."""
    subject = Model.from_record(model)
    imported = import_model(subject)
    store.write(canonical(imported), Path(folder))
    refusal = ""
    try:
        prepared = Batches.from_record(batches), Preprocessing.from_record(preprocessing)
        np.savez(Path(folder) / ANSWERS, **_answers(imported, subject, *prepared, rows))
    except ConvfaultError as error:
        refusal = str(error)
    except Exception as error:  # TVM's compiler may refuse what its importer took: one vote less, no more
        refusal = first_line(error)
    (Path(folder) / REFUSAL).write_text(json.dumps({"refused": refusal, "rows": list(rows)}))
    return {"refused": refusal}


def _answers(
    imported: Imported, model: Model, batches: Batches, preprocessing: Preprocessing, rows: Sequence[int]
) -> dict[str, Any]:
    """Output number → what TVM answers on the rows, batch first."""
    assert model.signature is not None
    machine, found = Executable(imported), list[list[Any]]()
    for row in rows:
        answer = machine.run(batches.inputs(row, row + 1, model.signature, preprocessing))
        found.append([answer[spec.name] for spec in imported.outputs])
    return {str(number): np.concatenate(values) for number, values in enumerate(zip(*found, strict=True))}


def answers(folder: Path) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """The rows that TVM was given, and what it answered, an array for each output; none where it could not run."""
    rows = tuple(json.loads((folder / REFUSAL).read_text())["rows"])
    if not (folder / ANSWERS).is_file():
        return rows, ()
    with np.load(folder / ANSWERS, allow_pickle=False) as saved:
        return rows, tuple(saved[str(number)] for number in range(len(saved.files)))
