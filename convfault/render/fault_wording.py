"""What localization found, in sentences: the place of a fault, what it causes, who is to blame, what was compared."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from pathlib import PurePath
from typing import Any

from convfault.comparison import AGREE, DIFFER
from convfault.fault import Fault
from convfault.render import wording
from convfault.render.fault_groups import Group, harmful
from convfault.report import Report

NOWHERE = "no single place"
DIGITS = "0123456789_"
NAMED = 3
"""Places that a row of alike faults names."""
BLAME = {
    "conversion": "The conversion is to blame: the two models are not the same",
    "runtime": "A runtime is to blame: the two models are the same, but one is not computed as it says",
    "import": "Nobody is to blame for sure: convfault reads one of the models otherwise than its runtime does",
}


def shortened(name: str, width: int = 46, like: str = "") -> str:
    """A native name that fits: of a path its end, of a fused one the part that is most ``like`` another name."""
    fused = name.split(";")
    first = max(fused, key=lambda part: _alike(part, like.split(":")[0]))
    parts = first.split("/")
    for start in range(len(parts)):
        text = "/".join(parts[start:])
        text = (f"…/{text}" if start else text) + (" …" if len(fused) > 1 else "")
        if len(text) <= width:
            return text
    text = parts[-1] or first
    return text if len(text) <= width else f"{text[: width // 2 - 1]}…{text[-(width // 2) :]}"


def place(fault: Fault, width: int = 46) -> str:
    """Where the fault is: its native name in the source → in the target."""
    both = (fault.source_location, fault.target_location)
    if fault.kind == "tool":  # a tool and the file that it wrote
        both = (both[0], PurePath(both[1]).name if both[1] else None)
    sides = [shortened(name, width, _model(fault)) for name in both if name]
    return " → ".join(dict.fromkeys(sides)) if all(both) else f"{sides[0]} ({_only(fault)})" if sides else ""


def places(group: Group, width: int = 46) -> str:
    """The place of a fault, or the worst few of alike ones."""
    if not group.folded:
        return place(group.first, width)
    names = list(dict.fromkeys(_end(fault, width) for fault in group.faults))[:NAMED]
    more = len(group.faults) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more > 0 else "")


def effect(report: Report, group: Group, name: str) -> tuple[str, ...]:
    """What an effect is, in lines: of ``caused`` (left in alone) or ``after`` (undone alone)."""
    if not group.measured(name):
        return ("not measured",) if name == "caused" else ()
    lines = (_labels(report, group, name), _error(group, name))
    return tuple(line for line in lines if line)


def lines(report: Report) -> tuple[str, ...]:
    """What is true of all faults together, a sentence or two each, the most important first."""
    found = (left(report), nothing(report), blame(report), aligned(report), first_divergent(report), *unknown(report))
    return tuple(line for line in found if line)


def left(report: Report) -> str:
    """What remains when every fault is undone."""
    known = report.localization or {}
    error, rate = known.get("max_abs_error_left"), known.get("top1_disagreement_left")
    if not harmful(report) or "max_abs_error_left" not in known or (error is None and rate is None):
        return ""
    many, undone = len(harmful(report)), "it" if len(harmful(report)) == 1 else "all of them"
    if not any(fault.effect.get("max_abs_error_after") is not None for fault in harmful(report)):
        return ""
    size = "NaN or infinite" if error is None else f"off by {wording.number(error)}"
    flips = f"; {_flipped(report, rate, rate)}" if rate else ""
    tolerance = _tolerance(report)
    if error is not None and tolerance is not None and error <= tolerance and not rate:
        return f"With {undone} undone the target answers as the source does ({size})."
    more = "the faults named are not all" if many else ""
    return f"With {undone} undone the target is still {size}{flips}: {more}."


def nothing(report: Report) -> str:
    """That the layers could not be looked at, or that the models differ though no fault was found, and what to try."""
    if report.localization is None or harmful(report):
        return ""
    if report.localization.get("refused"):
        return f"The layers could not be compared: {report.localization['refused']}"
    if report.comparison.verdict != DIFFER:
        return ""
    found = "The models differ, but layer by layer no difference was found that explains it."
    to_try = {
        "runtime": "Try another release of the runtime, or --dst-runtime tvm.",
        "import": "Try --dst-runtime tvm and --src-runtime tvm, and report the models to convfault's authors.",
    }.get(str((report.attribution or {}).get("blame")), "")
    if report.localization.get("unsupported"):
        to_try = "Look at the operators below that convfault does not know: what they compute was not compared."
    return f"{found} {to_try or 'Try more pictures (--limit), or another --tolerance if the error is small enough.'}"


def blame(report: Report) -> str:
    """Who is to blame, and the figures that it rests on."""
    known = report.attribution or {}
    word = known.get("blame")
    if word is None or word not in BLAME or report.comparison.verdict == AGREE:
        return ""
    figures = (
        ("tvm_vs_tvm", "run alike by TVM they are {} apart"),
        ("source_native_vs_tvm", "the source's runtime and TVM {}"),
        ("target_native_vs_tvm", "the target's runtime and TVM {}"),
    )
    said = [text.format(wording.number(known[name])) for name, text in figures if known.get(name) is not None]
    return BLAME[word] + (f" ({', '.join(said)})." if said else ".")


def notes(report: Report) -> tuple[str, ...]:
    """What was noticed while blame was weighed."""
    return tuple(f"{note[:1].upper()}{note[1:]}." for note in (report.attribution or {}).get("notes", ()))


def aligned(report: Report) -> str:
    """How many layers have a counterpart."""
    known = (report.localization or {}).get("alignment")
    if not known:
        return ""
    matched, source, target = known["matched"], known["source_layers"], known["target_layers"]
    if matched == source == target:
        return f"{matched:,} of {source:,} layers aligned."
    return f"{matched:,} layers aligned, of {source:,} in the source and {target:,} in the target."


def first_divergent(report: Report) -> str:
    """The first layer whose values are apart by more than rounding."""
    step = first_step(report)
    if step is None:
        return ""
    size = _apart(step)
    return f"The first layer that diverges is {shortened(step['source_name'], 60)} ({step['kind']}), {size}."


def first_step(report: Report) -> Mapping[str, Any] | None:
    """The record of that layer. In models that agree, another shape is another spelling."""
    steps = (report.localization or {}).get("divergence", ())
    agree = report.comparison.verdict == AGREE
    problems = {"nonfinite"} if agree else {"nonfinite", "shape"}
    return next((step for step in steps if step.get("divergent") or step.get("problem") in problems), None)


def unknown(report: Report) -> tuple[str, ...]:
    """Operators that were not compared."""
    found = (report.localization or {}).get("unsupported", ())
    if not found:
        return ()
    kinds = {f"{item.get('operator')} in the {item.get('side')}" for item in found}
    many = wording.plural(len(found), "operator")
    return (f"{many} unknown to convfault, not compared: {', '.join(sorted(kinds))}.",)


def heading(report: Report) -> str:
    """Whether there is anything to say of faults, and how to call it."""
    if harmful(report):
        return "Faults" if report.comparison.verdict != AGREE else "Differences"
    return "Layer by layer" if report.faults or lines(report) else ""


def sentence(fault: Fault) -> str:
    """What is the matter and what to do about it."""
    return f"{punctuated(fault.explanation)} {punctuated(fault.suggestion)}".strip()


def punctuated(text: str) -> str:
    """With a full stop, and a capital unless it starts with a name such as ``tf>onnx``."""
    first = text.split(" ", 1)[0]
    text = text[:1].upper() + text[1:] if first.isalpha() and first.islower() else text
    return text if not text or text.endswith((".", "!", "?", ":")) else f"{text}."


def _end(fault: Fault, width: int) -> str:
    """Its name in the target, or in the source if it has none there."""
    return shortened(fault.target_location or fault.source_location or NOWHERE, width, _model(fault))


def _model(fault: Fault) -> str:
    """The name of the source's operator, which a fused name of the target holds, too."""
    native = (fault.evidence.get("native_names") or {}).get("source")
    return str(native[0] if native else fault.source_location or "")


def _alike(one: str, other: str) -> int:
    """How many letters two names end in alike, less the numbers that converters append to tell names apart."""
    pairs = zip(reversed(one.rstrip(DIGITS)), reversed(other.rstrip(DIGITS)), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _only(fault: Fault) -> str:
    return "in the source only" if fault.source_location else "in the target only"


def _apart(step: Mapping[str, Any]) -> str:
    problems = {"shape": "of another shape", "nonfinite": "NaN or infinite"}
    if step.get("problem") in problems:
        return problems[step["problem"]]
    noise = f", where rounding explains {wording.number(step['noise'])}" if step.get("noise") else ""
    return f"off by {wording.number(step['error'])} of its largest value{noise}"


def _labels(report: Report, group: Group, name: str) -> str:
    span = group.span(f"top1_disagreement_{name}")
    return "" if span is None else _flipped(report, *span)


def _flipped(report: Report, low: float, high: float) -> str:
    """Shares of labels: as counts where it is known of how many."""
    pictures = (report.localization or {}).get("measured_on")
    if high == 0:
        return "no label flips"
    if pictures:
        few, many = (wording.count(rate, pictures) for rate in (low, high))
        range_ = f"{many:,}" if few == many else f"up to {many:,}" if few == 0 else f"{few:,} to {many:,}"
        return f"{range_} of {wording.plural(pictures, 'label')} {'flips' if pictures == 1 else 'flip'}"
    start = "up to" if low == 0 else f"{wording.percent(low)} to"
    range_ = wording.percent(high) if low == high else f"{start} {wording.percent(high)}"
    return f"{range_} of labels flip"


def _error(group: Group, name: str) -> str:
    if group.unbounded(name):
        return "NaN or infinite"
    span = group.span(f"max_abs_error_{name}")
    if span is None:
        return ""
    low, high = (wording.number(value) for value in span)
    return f"off by {high}" if low == high else f"off by {low} to {high}"


def _tolerance(report: Report) -> float | None:
    return next((output.tolerance.value for output in report.comparison.outputs), None)
