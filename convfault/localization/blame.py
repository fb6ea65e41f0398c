"""Which of the runs disagree: is the conversion at fault, a runtime's kernel, or the import that all else rests on?

What it finds: a model whose native runtime answers otherwise than its graph does, run by TVM and evaluated by itself.
How it arises: a runtime's kernel is wrong (kind ``runtime``), or the importer misread the model (an import defect).
Example: an average pooling whose kernel counts the padding although the file says that it does not.
How it is repaired: another release or another kernel of the runtime; an import defect is a fault of convfault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convfault.localization import divergence
from convfault.localization.case import Case, Subject
from convfault.localization.effect import Effects, deviation
from convfault.localization.faults import location
from convfault.localization.suspect import Suspect
from convfault.relax.graph import Array

CONVERSION, RUNTIME, IMPORT = "conversion", "runtime", "import"
LEAST = 1e-5
"""Relative to the largest output, what two float32 evaluations of one graph may be apart whatever the tolerance."""

Outputs = tuple[Array, ...]


@dataclass(frozen=True)
class Vote:
    """What a model answers to a few pictures: by its native runtime, and by TVM (empty: that could not run it)."""

    native: Outputs
    tvm: Outputs


@dataclass(frozen=True)
class Verdict:
    """``errors``: largest absolute deviation of the outputs between two runs, None where one of them is missing."""

    blame: str | None
    errors: dict[str, float | None]
    notes: tuple[str, ...] = ()
    suspects: tuple[Suspect, ...] = field(default=())

    def to_record(self) -> dict[str, Any]:
        finite = {name: _finite(value) for name, value in self.errors.items()}
        return {**finite, "blame": self.blame, "notes": list(self.notes)}


def verdict(case: Case, effects: Effects, source: Vote, target: Vote) -> Verdict:
    """Weigh the native runs, TVM's and the graphs' own evaluation."""
    errors = {
        "source_native_vs_tvm": _error(source.native, source.tvm),
        "target_native_vs_tvm": _error(target.native, target.tvm),
        "tvm_vs_tvm": _error(_arranged(case.source, source.tvm), _arranged(case.target, target.tvm)),
        "source_native_vs_graph": _error(case.source.outputs, _evaluated(case.source)),
        "target_native_vs_graph": _error(case.target.outputs, _evaluated(case.target)),
        "native_vs_native": _error(case.source.outputs, case.target.outputs),
    }
    limit = _limit(case)
    sound = errors["native_vs_native"] is not None and errors["native_vs_native"] <= limit
    notes, suspects = list[str](), list[Suspect]()
    for name, subject in (("source", case.source), ("target", case.target)):
        if (errors[f"{name}_native_vs_graph"] or 0.0) > limit:
            note, suspect = _kernel(name, subject, errors[f"{name}_native_vs_tvm"], limit)
            notes.append(note)
            suspects += [suspect] if suspect is not None and not sound else []
    if sound:
        return Verdict(None, errors, tuple(notes))
    conversion = effects.before.max_abs_error > limit
    blame = CONVERSION if conversion or not notes else RUNTIME if suspects else IMPORT
    return Verdict(blame, errors, tuple(notes), tuple(suspects))


def _kernel(name: str, subject: Subject, tvm: float | None, limit: float) -> tuple[str, Suspect | None]:
    """What is known of a model whose native answers its graph does not reproduce."""
    if any(np.issubdtype(np.dtype(encoding.dtype), np.integer) for encoding in subject.graph.encodings.values()):
        return (
            f"the {name}'s runtime computes with quantized values, which its graph in floating point approximates",
            None,
        )
    found = divergence.kernel_errors(subject)
    if not found:
        return f"the {name}'s graph does not reproduce its native run, and no single layer tells why", None
    layer_id, error = found[0]
    layer = subject.graph[layer_id]
    place = location(layer)
    if tvm is not None and tvm <= limit:
        return f"TVM reproduces the {name}'s native run, its canonical graph does not, first at '{place}'", None
    note = f"the {name}'s native run deviates by {error:.2g} at '{place}' ({layer.kind}) from what the model says"
    framework = subject.model.framework
    return note, Suspect(
        kind="runtime",
        cause="kernel",
        explanation=f"{note[0].upper()}{note[1:]}, on the same input: {framework}'s kernel is wrong, or the import is.",
        suggestion=f"Try another release of {framework}, or its reference kernels, and report the operator.",
        source=layer_id if name == "source" else None,
        target=layer_id if name == "target" else None,
        evidence={"local_error": error},
        confidence=0.6,
    )


def _limit(case: Case) -> float:
    largest = max((float(np.abs(output).max(initial=0.0)) for output in case.source.outputs), default=0.0)
    return max(case.tolerance, LEAST * largest)


def _arranged(subject: Subject, values: Outputs) -> Outputs:
    """Outputs in the graph's layout."""
    return tuple(subject.as_output(number, output) for number, output in enumerate(values))


def _evaluated(subject: Subject) -> tuple[Array, ...]:
    return tuple(subject.values[name] for name in subject.graph.outputs if name in subject.values)


def _error(one: Sequence[Array], other: Sequence[Array]) -> float | None:
    if not one or not other or len(one) != len(other):
        return None
    count = min(len(one[0]), len(other[0]))
    return deviation(tuple(v[:count] for v in one), tuple(v[:count] for v in other)).max_abs_error


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
