"""Works for a ``Bench``: cut a piece out of a source and run it, and run what a converter made of it.

Both run in convfault's own environment, where every runtime is; only the converting needs the converter's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convfault.comparing import tolerance
from convfault.frameworks import FRAMEWORKS
from convfault.frameworks.base import Perturbation
from convfault.localization.tool import layouts, reduction
from convfault.model import Model, TensorSpec
from convfault.relax.graph import Array
from convfault.trace import StoredTrace, TraceWriter

ARRAYS = "arrays.npz"
OPEN_SIDE = 8
"""What a side of unknown size gets where no value of the tensor is known."""


class Source:
    """Cuts pieces out of a model and runs them on what the whole model feeds them.

    ``inputs``: path of an ``.npz`` with the whole model's inputs by name, one picture.
    """

    def __init__(self, model: Mapping[str, Any], inputs: str) -> None:
        whole = Model.from_record(model)
        with np.load(inputs) as data:
            given = {name: data[name] for name in data.files}
        self.known = {**given, **_captured(whole, given)}
        self.cut = reduction.cutter(whole)

    def __call__(self, kept: Sequence[int], folder: str) -> dict[str, Any] | None:
        """A piece with these nodes: its record, the nodes ``held``, and per output how far rounding takes it.

        Its inputs and answers go to ``ARRAYS`` in the folder. None: there is no such piece, or it answers with NaN.
        Without nodes: what there is to choose from.
        """
        if not kept:
            return {"nodes": self.cut.nodes, "tensors": self.cut.tensors, "reads": self.cut.reads}
        piece, place = self.cut.write(tuple(kept), Path(folder)), Path(folder)
        if piece is None:
            return None
        with FRAMEWORKS[piece.model.framework].open(piece.model) as session:
            model = piece.model.with_signature(session.signature)
        inputs = _fed(session.signature.inputs, piece.origins, self.known)
        clean = _run(model, inputs, place / "clean")
        wanted = [clean.read(name) for name in clean.outputs]
        if not all(np.isfinite(values).all() for values in wanted):
            return None
        changes = [Perturbation(tolerance.RELATIVE, seed) for seed in tolerance.SEEDS]
        noisy = [_run(model, inputs, place / f"noisy_{change.seed}", change) for change in changes]
        limits = [limit.value for limit in tolerance.derive(clean, noisy, range(len(clean)))]
        _save(place / ARRAYS, inputs=list(inputs.values()), wanted=wanted)
        return {"model": model.to_record(), "held": piece.held, "limits": limits}


class Target:
    """Runs what a converter wrote on the inputs of the piece that it was made of."""

    def __call__(
        self, model: Mapping[str, Any], names: Sequence[str], arrays: str, folder: str, turned: str
    ) -> list[dict[str, Any]]:
        """For each way to feed it ``feed`` and ``answers``, a path of an ``.npz``; none where its inputs are others.

        ``names``: the piece's inputs; ``turned``: the layout that the converter says it turned pictures to, or empty.
        """
        inputs, _ = load(Path(arrays))
        subject, found = Model.from_record(model), []
        with FRAMEWORKS[subject.framework].open(subject) as session:
            shapes = [(name, values.shape) for name, values in zip(names, inputs, strict=True)]
            specs = session.signature.inputs
            for way, feed in enumerate(layouts.feeds(shapes, specs, turned)):
                values = {spec.name: inputs[n].transpose(axes) for spec, (n, axes) in zip(specs, feed, strict=True)}
                trace = session.run_batch(values)
                place = Path(folder, f"found_{way}.npz")
                _save(place, inputs=[], wanted=[trace.tensors[name] for name in trace.outputs])
                found.append({"feed": feed, "answers": str(place)})
        return found


def load(path: Path) -> tuple[list[Array], list[Array]]:
    """Inputs and answers, each in the model's order."""
    with np.load(path) as data:
        sides = [[data[n] for n in data.files if n.startswith(start)] for start in ("input_", "wanted_")]
    return sides[0], sides[1]


def _save(path: Path, inputs: Sequence[Array], wanted: Sequence[Array]) -> None:
    named = {f"input_{number}": values for number, values in enumerate(inputs)}
    named |= {f"wanted_{number}": values for number, values in enumerate(wanted)}
    np.savez(path, **named)  # type: ignore[arg-type]


def _captured(model: Model, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every inner tensor that the runtime can show, one picture; none where that fails: random ones have to do."""
    try:
        with FRAMEWORKS[model.framework].open(model) as session:
            outputs = {spec.name for spec in session.signature.outputs}
            names = [spec.name for spec in session.tensors() if spec.name not in outputs]
            return dict(session.run(inputs, names).tensors)
    except Exception:
        return {}


def _fed(specs: Sequence[TensorSpec], origins: Sequence[str], known: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs of a piece: what the whole model computes there, or random values of a fixed seed.

    A fixed batch is filled up with copies.
    """
    random = np.random.default_rng(0)
    found: dict[str, Array] = {}
    for spec, origin in zip(specs, origins, strict=True):
        values = known.get(origin)
        if values is None or not _fits(values.shape[1:], spec.shape[1:]):
            inner = [OPEN_SIDE if side is None else side for side in spec.shape[1:]]
            values = random.standard_normal([1, *inner][: len(spec.shape)])
            values = values if np.issubdtype(np.dtype(spec.dtype), np.floating) else np.zeros_like(values)
        if spec.shape and spec.shape[0] is not None and len(values) != spec.shape[0]:
            values = np.resize(values, (spec.shape[0], *values.shape[1:]))
        found[spec.name] = np.ascontiguousarray(values, dtype=spec.dtype)
    return found


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(side in {None, own} for own, side in zip(shape, wanted, strict=True))


def _run(model: Model, inputs: Mapping[str, Array], folder: Path, change: Perturbation | None = None) -> StoredTrace:
    with FRAMEWORKS[model.framework].open(model, change) as session, TraceWriter(folder) as writer:
        writer.append(session.run_batch(inputs))
    return StoredTrace(folder)
