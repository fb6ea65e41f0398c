"""Turns suspects and their effects into the ``Fault``s of a report, in order of what they cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convfault.fault import Fault
from convfault.localization.case import Case, Subject
from convfault.localization.effect import Effect, Effects, nothing
from convfault.localization.suspect import Suspect
from convfault.relax.graph import Layer
from convfault.relax.imported import Origin
from convfault.relax.kinds import LINEAR

ARRANGING = frozenset({"PAD", "PADV2", "MIRRORPAD", "MIRROR_PAD", "TRANSPOSE", "RESHAPE", "SQUEEZE", "UNSQUEEZE"}) | {
    "EXPANDDIMS", "EXPAND_DIMS", "SPACETOBATCHND", "SPACE_TO_BATCH_ND", "BATCHTOSPACEND", "BATCH_TO_SPACE_ND"
}  # fmt: skip
"""Operators of any format that a linear layer may have taken in with what it computes."""


OF_GRAPHS = frozenset({"parameters", "hyperparameters", "graph"})
"""Kinds whose effect the graphs' own answers show; runtimes and tools answer for themselves."""


def ranked(case: Case, suspects: Sequence[Suspect], effects: Effects) -> list[Fault]:
    """The faults, those that cause most first, harmless ones last.

    Suspects behind the measured ones have no effect of their own.
    """
    return [_fault(case, rank, *pair) for rank, pair in enumerate(ordered(case, suspects, effects), 1)]


def ordered(case: Case, suspects: Sequence[Suspect], effects: Effects) -> list[tuple[Suspect, Effect]]:
    """The suspects with their effects, in the order of the faults that ``ranked`` makes of them."""
    nothing = [Effect(effects.before)] * (len(suspects) - len(effects.each))
    pairs = list(zip(suspects, [*effects.each, *nothing], strict=True))
    order = sorted(range(len(pairs)), key=lambda number: (*_weight(case, *pairs[number]), number))
    return [pairs[number] for number in order]


def alone(suspect: Suspect) -> Fault:
    """The fault of a suspect found without a case, such as a crash: its effect is not measured."""
    return Fault(
        id="F1",
        kind=suspect.kind,
        rank=1,
        cause=suspect.cause,
        explanation=suspect.explanation,
        suggestion=suspect.suggestion,
        source_location=suspect.source_location,
        target_location=suspect.target_location,
        attribute=suspect.attribute,
        expected=suspect.expected,
        actual=suspect.actual,
        evidence=suspect.evidence,
        confidence=suspect.confidence,
    )


def harmless(case: Case, suspect: Suspect, effect: Effect) -> bool:
    """Whether leaving the suspect in changes no answer by more than the tolerance and no label, nor undoing it.

    Nor would it on pictures of which the model is less certain. What cannot be undone, and so not be measured alone, is
    harmless where nothing at all is off, or where it is known to cause nothing.
    """
    if suspect.edit is None or effect.caused is None or effect.after is None:
        caused = effect.caused or effect.before
        return suspect.kind in OF_GRAPHS and nothing(caused)
    gain = effect.before.max_abs_error - effect.after.max_abs_error
    return nothing(effect.caused) and not gain > case.tolerance


def _weight(case: Case, suspect: Suspect, effect: Effect) -> tuple[float, ...]:
    """What to sort by: the smaller, the worse."""
    if effect.caused is None:  # cannot be undone, hence not be measured: behind the measured, before the harmless
        return (1.0 if harmless(case, suspect, effect) else 0.5, -suspect.confidence, 0.0)
    return (
        float(harmless(case, suspect, effect)),
        -(effect.caused.top1_disagreement or 0.0),
        -effect.caused.max_abs_error,
    )


def _fault(case: Case, rank: int, suspect: Suspect, effect: Effect) -> Fault:
    evidence = dict(suspect.evidence)
    source = _layer(case.source, suspect.source)
    target = _layer(case.target, suspect.target)
    lines = [line for layer in (source, target) if layer for line in program_lines(layer)]
    if lines:
        evidence["program"] = lines
    evidence["native_names"] = {"source": native_names(source), "target": native_names(target)}
    return replace(
        alone(suspect),
        id=f"F{rank}",
        rank=rank,
        source_location=suspect.source_location or location(source, suspect.attribute),
        target_location=suspect.target_location or location(target, suspect.attribute),
        evidence=evidence,
        effect=effect.to_record(),
        confidence=round(suspect.confidence, 3),
        harmless=harmless(case, suspect, effect),
    )


def _layer(subject: Subject, layer_id: str | None) -> Layer | None:
    return subject.graph[layer_id] if layer_id is not None and layer_id in subject.graph else None


def location(layer: Layer | None, attribute: str | None = None) -> str | None:
    """The native name of a layer: of the parameter in question, of the operator at its heart, or of its tensor."""
    if layer is None:
        return None
    if attribute is not None and attribute in layer.parameters and layer.parameters[attribute].native:
        return layer.parameters[attribute].native[0]
    operators = layer.native.operators
    if operators and layer.kind in LINEAR:
        bare = [item for item in operators if not _arranges(item)]
        return (operators if attribute == "padding" else [*bare, *operators])[0].called
    return layer.called[-1] if layer.called else layer.native.tensor or layer.id


def _arranges(operator: Origin) -> bool:
    """Whether an operator only arranges values for the one at the heart of a layer."""
    kind = operator.operator.upper()
    return kind in ARRANGING or "PAD_ND" in kind or "PERMUTE" in kind


def native_names(layer: Layer | None) -> list[str]:
    """Everything that a layer is called in its own format: its operators, its output and its parameters."""
    if layer is None:
        return []
    parameters = [name for parameter in layer.parameters.values() for name in parameter.native]
    tensor = [layer.native.tensor] if layer.native.tensor else []
    return list(dict.fromkeys([*layer.names, *layer.called, *tensor, *parameters]))


def program_lines(layer: Layer) -> list[str]:
    """Where the user's program makes the layer, as far as the format records it."""
    return list(dict.fromkeys(line for operator in layer.native.operators for line in operator.source))
