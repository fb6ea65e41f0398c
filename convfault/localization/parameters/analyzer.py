"""The parameters analyzer.

What it finds
    Weights, biases and statistics that differ by more than float32 rounding, how much, and what kind of difference it
    is: fewer bits, another order, another scale, another layer's values, values lost. ``CAUSES`` lists the kinds.
How it arises
    Converters store tensors in fewer bits, permute their axes, fold batch normalization into them, and pair them by
    position or name; each of these goes wrong in its own way.
Example
    InceptionV3 from TF to TFLite with ``optimizations=DEFAULT``: the weights of 94 layers are rounded to int8.
How it is repaired
    The target's layer gets the source's values, in the target's order of channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convfault.localization.aligning.alignment import Match
from convfault.localization.case import Case
from convfault.localization.counterparts import Counterparts, counterparts
from convfault.localization.finding import Finding
from convfault.localization.graph.absorbed import absorbed
from convfault.localization.graph.flattening import flattening_order
from convfault.localization.hyperparameters.steepness import steepness
from convfault.localization.input.claimed import claimed
from convfault.localization.parameters import replacement, rounding, scaling
from convfault.localization.parameters.batch_norm import Folding, Normalization, misfolded
from convfault.localization.parameters.causes import CAUSES
from convfault.localization.parameters.difference import Difference
from convfault.localization.parameters.origins import Origins
from convfault.localization.parameters.rearrangement import rearranged
from convfault.localization.parameters.storage import stored, unrounded
from convfault.localization.suspect import Suspect
from convfault.relax.edits import SetParameters
from convfault.relax.kinds import LINEAR

__all__ = ["CAUSES", "examine"]

SIMPLE = (
    replacement.not_finite,
    replacement.zeroed,
    replacement.neutral,
    rounding.rounded,
    rounding.misscaled,
    scaling.scaled,
    scaling.signs_lost,
)
"""Kinds that one parameter shows by itself, tried in this order before anything is concluded from several."""

LATER = (
    replacement.channels_zeroed,
    replacement.rows_zeroed,
    replacement.single_values,
    scaling.channels_scaled,
    scaling.shifted,
    replacement.pruned,
    replacement.clipped,
)


def examine(case: Case) -> list[Suspect]:
    """The layers whose parameters differ, in the source's order, one suspect for each cause in a layer."""
    origins = Origins(case)
    suspects: list[Suspect] = []
    for match in case.alignment.matches:
        pair = counterparts(case, match)
        if pair is None:
            continue
        suspects += _misshapen(pair)
        told = match.target in claimed(case).target or match.target in absorbed(case)
        told = told or steepness(case, pair) is not None
        if pair.differing and not told and not _added_behind(case, pair):
            found = _with_correction(case, pair, findings(pair, origins))
            suspects += _suspects(pair, _merged(_own(case, match, found)))
    return [*suspects, *stored(case), *unrounded(case)]


def _own(case: Case, match: Match, found: dict[str, Finding]) -> dict[str, Finding]:
    """Without the weights of a product whose picture is flattened in another order: the graph analyzer tells that."""
    if "weights" not in found or flattening_order(case.source.graph, case.target.graph, match) is None:
        return found
    return {name: finding for name, finding in found.items() if name != "weights"}


def _added_behind(case: Case, pair: Counterparts) -> bool:
    """Whether only the bias is missing, and a layer behind that has no counterpart adds something."""
    if set(pair.differing) != {"bias"} or pair.native("bias") or pair.differing["bias"].actual.any():
        return False
    readers = case.target.graph.readers[pair.target.id]
    return (
        len(readers) == 1
        and readers[0] in case.alignment.target_only
        and (case.target.graph[readers[0]].kind in {"add", "affine", "subtract"})
    )


def findings(pair: Counterparts, origins: Origins) -> dict[str, Finding]:
    """Parameter name → what kind of difference it has."""
    found = {name: _first(SIMPLE, difference) for name, difference in pair.differing.items()}
    open_names = [name for name, finding in found.items() if finding is None]
    if open_names and open_names[0] in {"weights", "scale", "bias", "shift"}:
        folded = misfolded(_folding(pair))
        if folded is not None:
            return dict.fromkeys(pair.differing, folded)
    for name in open_names:
        difference = pair.differing[name]
        found[name] = (
            origins.recognized(pair, name)
            or rearranged(difference, pair.pictures)
            or _first(LATER, difference)
            or replacement.noise(difference)
        )
    return _with_bias(pair, {name: finding for name, finding in found.items() if finding is not None})


def _with_bias(pair: Counterparts, found: dict[str, Finding]) -> dict[str, Finding]:
    """A bias that nothing explains may go with the weights, which it is folded with.

    Beside weights scaled channel by channel a normalization of both has changed; beside rounded ones it may be off by
    what the rounding does to a shift before the layer.
    """
    weights, bias = found.get("weights"), found.get("bias")
    if weights is None or bias is None or bias.cause not in {"noise", "unrelated"}:
        return found
    if weights.cause.endswith("_rounding") and rounding.carried(pair.differing["weights"], pair.differing["bias"]):
        return found | {"bias": weights}
    if weights.cause != "channel_scales":
        return found
    both = replace(weights, phrase=f"{weights.phrase}, and the bias with them, as by another normalization")
    return found | {"weights": both, "bias": both}


def _with_correction(case: Case, pair: Counterparts, found: dict[str, Finding]) -> dict[str, Finding]:
    """A bias that makes up for what rounding takes of the weights belongs to that: quantizers correct biases so."""
    weights, bias = found.get("weights"), found.get("bias")
    if weights is None or bias is None or bias.cause not in {"noise", "unrelated"}:
        return found
    picture = case.target.values.get(pair.target.inputs[0])
    if not weights.cause.endswith("_rounding") or pair.target.kind not in LINEAR or picture is None:
        return found
    lost = pair.wanted["weights"] - pair.target.parameters["weights"].values
    if not rounding.made_up(pair.differing["bias"], rounding.average_shift(pair.target, lost, picture)):
        return found
    evidence = {**weights.evidence, "bias_corrected": True}
    both = replace(weights, phrase=f"{weights.phrase}, and the bias makes up for it on average", evidence=evidence)
    return found | {"weights": both, "bias": both}


def _first(recognizers: tuple[Any, ...], difference: Difference) -> Finding | None:
    for recognizer in recognizers:
        found: Finding | None = recognizer(difference)
        if found is not None:
            return found
    return None


def _folding(pair: Counterparts) -> Folding:
    weights, bias = ("scale", "shift") if "scale" in pair.differences else ("weights", "bias")
    target = Normalization.of(pair.target)
    native = target is not None or len(pair.native(weights)) > 1
    likely = native or "batch_norm" in pair.source.details or len(pair.source_native(weights)) > 1
    return Folding(
        pair.differing.get(weights),
        pair.differences.get(bias),
        Normalization.of(pair.source, pair.match.order),
        target,
        likely,
        native,
    )


@dataclass(frozen=True)
class _Named:
    """A finding and the parameters that it is about."""

    finding: Finding
    names: tuple[str, ...]


def _merged(found: Mapping[str, Finding]) -> Iterator[_Named]:
    """One for each cause; roundings of a layer's parameters to several types are one, named by the first."""
    groups: dict[str, list[str]] = {}
    for name, finding in found.items():
        key = "rounding" if finding.cause.endswith("_rounding") else finding.cause
        groups.setdefault(key, []).append(name)
    for names in groups.values():
        yield _Named(found[names[0]], tuple(names))


def _suspects(pair: Counterparts, found: Iterator[_Named]) -> Iterator[Suspect]:
    for item in found:
        finding, names = item.finding, item.names
        if finding.cause == "batch_norm_epsilon" and "batch_norm" in pair.target.details:
            continue  # the operator has its epsilon: hyperparameters reports it
        yield suspect_of(pair, finding, names, "parameters")


def suspect_of(pair: Counterparts, finding: Finding, names: tuple[str, ...], kind: str) -> Suspect:
    """The suspect for a finding about some parameters of a layer."""
    first = pair.differing[names[0]]
    return Suspect(
        kind=kind,
        cause=finding.cause,
        explanation=_explanation(pair, finding, names),
        suggestion=CAUSES[finding.cause].repair,
        source=pair.source.id,
        target=pair.target.id,
        attribute=", ".join(names),
        expected=_described(first.expected),
        actual=_described(first.actual),
        evidence=_evidence(pair, finding, names),
        confidence=finding.confidence * pair.match.confidence,
        edit=SetParameters(pair.target.id, {name: pair.wanted[name] for name in names}),
    )


def _explanation(pair: Counterparts, finding: Finding, names: tuple[str, ...]) -> str:
    what = _words(names)
    if finding.group is not None:  # many layers share it: the report says it once
        return f"The {what} {finding.phrase}."
    native = pair.native(names[0])
    name = f" '{native[0]}'" if native else ""
    error = pair.differing[names[0]].relative_error
    size = f" They are off by {error:.2g} of their size." if np.isfinite(error) and finding.cause != "noise" else ""
    return f"The {what}{name} {finding.phrase}.{size}"


def _words(names: tuple[str, ...]) -> str:
    words = {"bias": "bias values", "scale": "scales", "shift": "shifts", "values": "constants"}
    return " and ".join(words.get(name, name) for name in names)


def _described(values: np.typing.NDArray[Any]) -> str:
    finite = values if np.isfinite(values).all() else values[np.isfinite(values)]
    shape = "×".join(str(side) for side in values.shape)
    if not finite.size:
        return f"{shape}: no finite values"
    root = float(np.linalg.norm(finite.astype(np.float64)) / np.sqrt(finite.size))
    return f"{shape}: {finite.min():.4g} to {finite.max():.4g}, root mean square {root:.4g}"


def _evidence(pair: Counterparts, finding: Finding, names: tuple[str, ...]) -> dict[str, Any]:
    first = pair.differing[names[0]]
    evidence: dict[str, Any] = {
        **finding.evidence,
        "relative_error": first.relative_error,
        "max_abs_error": float(first.error.max()),
        "rounding_bound": float(np.max(first.bound)),
        "changed_share": float(first.changed.mean()),
        "channels_changed": len(first.channels),
        "channels": evidence_channels(first),
        "examples": [_example(first, place) for place in _worst(first)],
        "native": {"source": list(pair.source_native(names[0])), "target": list(pair.native(names[0]))},
    }
    if len(names) > 1:
        evidence["others"] = {name: pair.differing[name].relative_error for name in names[1:]}
    return evidence if finding.group is None else {**evidence, "group": finding.group}


def _worst(difference: Difference) -> list[tuple[int, ...]]:
    """Up to three places with the largest errors."""
    errors = difference.error.reshape(-1)
    count = min(3, int(difference.changed.sum()))
    chosen = np.argpartition(errors, -count)[-count:]
    ordered = chosen[np.argsort(-errors[chosen], kind="stable")]
    return [tuple(int(i) for i in np.unravel_index(place, difference.error.shape)) for place in ordered]


def _example(difference: Difference, place: tuple[int, ...]) -> dict[str, Any]:
    expected, actual = float(difference.expected[place]), float(difference.actual[place])
    return {"place": list(place), "expected": expected, "actual": actual}


def evidence_channels(difference: Difference) -> list[dict[str, Any]]:
    """The worst channels, with their largest error relative to the channel's largest value."""
    rows = difference.error.reshape(-1, difference.count)
    size = np.abs(difference.expected).reshape(-1, difference.count).max(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.nan_to_num(rows.max(axis=0) / size, nan=0.0, posinf=np.inf)
    worst = np.argsort(-relative, kind="stable")[:3]
    return [{"channel": int(channel), "relative_error": float(relative[channel])} for channel in worst]


def _misshapen(pair: Counterparts) -> Iterator[Suspect]:
    """Parameters whose shapes cannot be compared."""
    for name, (expected, actual) in pair.misshapen.items():
        fits = pair.source.shape == pair.target.shape
        text = f"The {_words((name,))} have the shape {actual} instead of {expected}."
        yield Suspect(
            kind="parameters",
            cause="parameter_shape",
            explanation=text,
            suggestion=CAUSES["parameter_shape"].repair,
            source=pair.source.id,
            target=pair.target.id,
            attribute=name,
            expected=str(expected),
            actual=str(actual),
            evidence={} if fits else {"no_edit": "the outputs have different shapes"},
            confidence=pair.match.confidence,
            edit=SetParameters(pair.target.id, {name: pair.wanted[name]}) if fits else None,
        )
