"""Which of the runs disagree: is the conversion at fault, a runtime's kernel, or the import that all else rests on?

What it finds: a model whose native runtime answers otherwise than its graph does, run by TVM and evaluated by itself;
and, by a vote of all runtimes that have it, whether the one layer where that begins is computed or imported wrongly.
How it arises: a runtime's kernel is wrong (kind ``runtime``), or its optimization of the graph is, which shows only
while nobody watches the layers; or the importer misread the model (an import defect).
Example: an average pooling whose kernel counts the padding although the file says that it does not.
How it is repaired: another release or another kernel of the runtime; an import defect is a fault of convfault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from convfault.comparison import AGREE
from convfault.localization import ballot, kernels, optimizing
from convfault.localization.answers import Answer, deviation
from convfault.localization.ballot import IMPORT, RUNTIME, Ballot
from convfault.localization.case import Case, Subject
from convfault.localization.effect import Effects, as_native
from convfault.localization.faults import location
from convfault.localization.suspect import Suspect
from convfault.relax.graph import Array
from convfault.relax.rounding import HALF

CONVERSION = "conversion"
LEAST = 1e-5
"""Relative to the largest output, what two float32 evaluations of one graph may be apart whatever the tolerance."""

TELLING = 0.1
"""The first layer that deviates at least by this share of what any deviates by is where it begins: before it there may
be one that is little more than rounded."""

UNSURE, ONE_VOTE, SURE = 0.6, 0.8, 0.95
"""Confidence in a wrong kernel without a vote, by a single one, and by more."""

Outputs = tuple[Array, ...]
Replay = Callable[[Subject, str], Sequence[Ballot]]
"""Puts a layer, by id, to the vote of all runtimes that have it."""


@dataclass(frozen=True)
class Vote:
    """What a model answers to a few pictures: by its native runtime, and by TVM (empty: that could not run it).

    ``unwatched``: what the native runtime answers to the case's pictures when no layer is watched (empty: not known).
    """

    native: Outputs
    tvm: Outputs
    unwatched: Outputs = ()


@dataclass(frozen=True)
class Doubt:
    """A layer whose native value is not what its graph gives: on which ``side``, where, and how the vote went.

    ``outcome`` is ``runtime``, ``import`` or None for undecided.
    """

    side: str
    layer: str
    place: str
    outcome: str | None
    ballots: tuple[Ballot, ...] = ()

    def to_record(self) -> dict[str, Any]:
        votes = [item.to_record() for item in self.ballots]
        return {"side": self.side, "place": self.place, "outcome": self.outcome, "votes": votes}


@dataclass(frozen=True)
class Verdict:
    """``errors``: largest absolute deviation of the outputs between two runs, None where one of them is missing."""

    blame: str | None
    errors: dict[str, float | None]
    notes: tuple[str, ...] = ()
    suspects: tuple[Suspect, ...] = field(default=())
    doubts: tuple[Doubt, ...] = ()
    misread: bool = False
    """Whether the models agree and a graph does not follow its model: convfault reads it otherwise than it runs."""

    def to_record(self) -> dict[str, Any]:
        finite = {name: _finite(value) for name, value in self.errors.items()}
        replays = [doubt.to_record() for doubt in self.doubts if doubt.ballots]
        return {**finite, "blame": self.blame, "notes": list(self.notes), "replays": replays}


def verdict(case: Case, effects: Effects, source: Vote, target: Vote, replay: Replay | None = None) -> Verdict:
    """Weigh the native runs, TVM's and the graphs' own evaluation.

    ``replay`` is asked only about a layer that deviates in models whose native answers differ.
    """
    answers = {
        # what is watched in half precision is rounded, and need not be otherwise
        name: subject.arranged(vote.unwatched) if _has_half(subject) else subject.outputs
        for name, subject, vote in (("source", case.source, source), ("target", case.target, target))
    }
    errors = {
        "source_native_vs_tvm": _error(source.native, source.tvm),
        "target_native_vs_tvm": _error(target.native, target.tvm),
        "tvm_vs_tvm": _error(case.source.arranged(source.tvm), case.target.arranged(target.tvm)),
        "source_native_vs_graph": _error(answers["source"], _evaluated(case.source)),
        "target_native_vs_graph": _error(answers["target"], _evaluated(case.target)),
        "native_vs_native": _error(answers["source"], answers["target"]),
    }
    limit = _limit(case)
    sound = errors["native_vs_native"] is not None and errors["native_vs_native"] <= limit
    notes, suspects, doubts, misread = list[str](), list[Suspect](), list[Doubt](), False
    for name, subject, vote in (("source", case.source, source), ("target", case.target, target)):
        watched = errors[f"{name}_native_vs_graph"]
        optimized = _optimized(name, subject, vote, limit) if watched is not None and watched <= limit else None
        if optimized is not None:
            notes.append(optimized.explanation.removesuffix("."))
            suspects.append(optimized)
    if sound and suspects:
        return Verdict(RUNTIME, errors, tuple(notes), tuple(suspects))
    for name, subject in (("source", case.source), ("target", case.target)):
        if (errors[f"{name}_native_vs_graph"] or 0.0) > limit:
            tvm = errors[f"{name}_native_vs_tvm"]
            like_tvm = tvm is not None and tvm <= limit
            note, suspect, doubt = _kernel(name, subject, like_tvm, None if sound else replay)
            notes.append(note)
            suspects += [suspect] if suspect is not None and not sound else []
            doubts += [doubt] if doubt is not None else []
            misread |= not (_has_integers(subject) or _has_half(subject))
    if sound:
        return Verdict(None, errors, tuple(notes), misread=misread and case.comparison.verdict == AGREE)
    conversion = effects.before.max_abs_error > limit
    blame = CONVERSION if conversion or not notes else RUNTIME if suspects else IMPORT
    return Verdict(blame, errors, tuple(notes), tuple(suspects), tuple(doubts))


def _optimized(name: str, subject: Subject, vote: Vote, limit: float) -> Suspect | None:
    """The suspect of a runtime whose answers are those of its graph only while its layers are watched."""
    if _has_integers(subject) or _has_half(subject):  # then other kernels round otherwise
        return None
    alone = subject.arranged(vote.unwatched)
    error = _error(alone, subject.outputs)
    if error is None or not error > limit:
        return None
    row = max(range(len(alone[0])), key=lambda at: max(_gap(a[at], b[at]) for a, b in _pairs(alone, subject.outputs)))
    expected = [subject.trace.read(output, row, row + 1) for output in subject.trace.outputs]
    found = optimizing.guilty(subject, row, expected, limit)
    framework = {"onnx": "onnxruntime"}.get(subject.model.framework, subject.model.framework)
    who = f"{framework}'s {found}" if found is not None else f"{framework}'s own optimization of the graph"
    gone = (
        f", which does away with {', '.join(repr(node) for node in found.nodes[:3])}" if found and found.nodes else ""
    )
    layers = [layer.id for node in (found.nodes if found else ()) for layer in subject.graph.by_native(node)]
    place = layers[0] if layers else None
    return Suspect(
        kind="runtime",
        cause="optimization",
        explanation=f"The {name}'s runtime answers otherwise, by up to {error:.2g}, than it does when every layer is "
        f"watched: {who} changes what the model computes{gone}.",
        suggestion=f"Run it without that optimization, or by another release of {framework}, and report it there.",
        source=place if name == "source" else None,
        target=place if name == "target" else None,
        source_location=found.nodes[0] if found and found.nodes and name == "source" else None,
        target_location=found.nodes[0] if found and found.nodes and name == "target" else None,
        attribute=found.name or found.level if found is not None else None,
        evidence={"unwatched_error": error}
        | ({"level": found.level, "optimizer": found.name, "nodes": list(found.nodes)} if found else {}),
        confidence=SURE,
    )


def _pairs(one: Outputs, other: Outputs) -> Iterator[tuple[Array, Array]]:
    return ((a, b) for a, b in zip(one, other, strict=True) if a.shape == b.shape)


def _gap(a: Array, b: Array) -> float:
    return float(np.abs(np.asarray(a, np.float64) - b).max(initial=0.0))


def acquitted(
    case: Case, found: Verdict, suspects: Sequence[Suspect], effects: Effects
) -> tuple[Verdict, list[Suspect], Effects]:
    """Without the suspects at a layer that the vote found misread: what they tell is convfault's own error.

    ``effects`` are those of the suspects; the blame passes from the conversion to the import when no suspect is left.
    Of models that agree though their graphs do not, all suspects stay, and cause no more than the models differ by.
    """
    if found.misread:
        return found, list(suspects), as_native(case, effects)
    misread = {(doubt.side, doubt.layer) for doubt in found.doubts if doubt.ballots and doubt.outcome == IMPORT}
    kept = [
        number
        for number, suspect in enumerate(suspects)
        if misread.isdisjoint({("source", str(suspect.source)), ("target", str(suspect.target))})
    ]
    if len(kept) == len(suspects):
        return found, list(suspects), effects
    left = [suspects[number] for number in kept]
    blame = found.blame if left else RUNTIME if found.suspects else IMPORT
    return replace(found, blame=blame), left, replace(effects, each=tuple(effects.each[number] for number in kept))


def _kernel(
    name: str, subject: Subject, like_tvm: bool, replay: Replay | None
) -> tuple[str, Suspect | None, Doubt | None]:
    """What is known of a model whose native answers its graph does not reproduce."""
    if _has_integers(subject) or _has_half(subject):
        inside = any(layer.rounding is not None for layer in subject.graph)
        numbers = "integers" if _has_integers(subject) else "half precision"
        told = f"the {name}'s runtime computes with {numbers}, which its graph follows up to "
        told += "a step of theirs" if inside else "what its kernels round on the way"
        return told, None, None
    found = kernels.kernel_errors(subject)
    mixing = next((layer for layer in subject.graph if kernels.mixes_pictures(layer)), None)
    if not found and mixing is not None:
        told = f"what the {name} answers depends on which pictures come together: '{location(mixing)}' mixes them"
        return told, None, None
    if not found:
        return f"the {name}'s graph does not reproduce its native run, and no single layer tells why", None, None
    largest = max(error for _, error in found)
    layer_id, error = next(item for item in found if item[1] >= TELLING * largest)
    ballots = tuple(replay(subject, layer_id)) if replay is not None else ()
    doubt = Doubt(name, layer_id, str(location(subject.graph[layer_id])), ballot.decided(ballots), ballots)
    if doubt.outcome == IMPORT:
        return _misread(subject, doubt), None, doubt
    if doubt.outcome is None and like_tvm:
        note = f"TVM reproduces the {name}'s native run, its canonical graph does not, first at '{doubt.place}'"
        return note, None, doubt
    return _wrong_kernel(subject, doubt, error)


def _has_integers(subject: Subject) -> bool:
    return any("int" in encoding.dtype for encoding in subject.graph.encodings.values())


def _has_half(subject: Subject) -> bool:
    """Whether any value but constants is in half precision."""
    return any(encoding.dtype == HALF and not encoding.constant for encoding in subject.graph.encodings.values())


def _misread(subject: Subject, doubt: Doubt) -> str:
    votes = ballot.told(doubt.ballots)
    kind = subject.graph[doubt.layer].kind
    return (
        f"convfault reads '{doubt.place}' ({kind}) of the {doubt.side} otherwise than it means: an import defect"
        f"{f'. {votes}' if votes else ''}"
    )


def _wrong_kernel(subject: Subject, doubt: Doubt, error: float) -> tuple[str, Suspect, Doubt]:
    framework, kind = subject.model.framework, subject.graph[doubt.layer].kind
    note = f"the {doubt.side}'s native run deviates by {error:.2g} at '{doubt.place}' ({kind}) from what the model says"
    sure = doubt.outcome == RUNTIME and ballot.sure(doubt.ballots)
    who = f"{framework}'s kernel is wrong" if sure else f"{framework}'s kernel is wrong, or the import is"
    votes = ballot.told(doubt.ballots)
    evidence: dict[str, Any] = {"local_error": error}
    if doubt.ballots:
        evidence["votes"] = [item.to_record() for item in doubt.ballots]
    suspect = Suspect(
        kind="runtime",
        cause="kernel",
        explanation=f"{note[0].upper()}{note[1:]}, on the same input: {who}.{f' {votes}.' if votes else ''}",
        suggestion=f"Try another release of {framework}, or its reference kernels, and report the operator.",
        source=doubt.layer if doubt.side == "source" else None,
        target=doubt.layer if doubt.side == "target" else None,
        evidence=evidence,
        confidence=SURE if sure else ONE_VOTE if doubt.outcome == RUNTIME else UNSURE,
    )
    return note, suspect, doubt


def _limit(case: Case) -> float:
    largest = max((float(np.abs(output).max(initial=0.0)) for output in case.source.outputs), default=0.0)
    return max(case.tolerance, LEAST * largest)


def _evaluated(subject: Subject) -> tuple[Array, ...]:
    return tuple(subject.values[name] for name in subject.graph.outputs if name in subject.values)


def _error(one: Sequence[Array], other: Sequence[Array]) -> float | None:
    if not one or not other or len(one) != len(other):
        return None
    count = min(len(one[0]), len(other[0]))
    return deviation([Answer(v[:count]) for v in one], [Answer(v[:count]) for v in other]).max_abs_error


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
