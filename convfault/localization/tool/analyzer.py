"""Which hop of the route made the models differ, by which tool, version and options, and what avoids it?

What it finds: the first conversion whose result no longer answers as the source does, each later one that makes it
clearly worse, and the options of the tool that are known to change values.
How it arises: a converter quantizes when it is told to, simplifies, or translates an operator wrongly; the hops behind
it pass the fault on.
Example: TF to TFLite with ``optimizations=DEFAULT``, then to ONNX by tf2onnx: the weights are rounded in the first hop
and silently turned back into floating point in the second, where nothing shows where they were lost.
How it is repaired: leave the option out, or take another route, release or option (``alternatives``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from convfault.comparison import AGREE, Comparison
from convfault.converters import route as routes
from convfault.converters.options import print_value
from convfault.converters.route import Route
from convfault.errors import UsageError
from convfault.localization.case import Case, Hop
from convfault.localization.suspect import Suspect

CAUSES: Mapping[str, Mapping[str, str]] = {
    "option": {
        "finds": "an option that changes values was given to the tool that made the models differ",
        "arises": "quantization for smaller files, float16, workarounds for a platform",
        "example": "tflite_converter.optimizations=DEFAULT rounds weights to int8",
        "repair": "convert without the option, or accept its error",
    },
    "hop": {
        "finds": "the hop of the route that made the models differ",
        "arises": "the tool translates some operator otherwise than it means",
        "example": "onnx2torch 1.5.15 leaves out the coordinate mode of Resize",
        "repair": "take another tool, release or route",
    },
    "worse_hop": {
        "finds": "a later hop that makes an error much larger",
        "arises": "two tools each with a fault of their own",
        "example": "weights rounded in the first hop, a padding lost in the second",
        "repair": "take another tool for that hop, too",
    },
}
WORSE = 10.0
"""A hop adds a fault of its own when it makes the error so many times larger."""


@dataclass(frozen=True)
class ValueOption:
    """An option that changes what a model answers: for which values it does, and how, as the end of a sentence."""

    applies: Callable[[Any], bool]
    effect: str


def _given(value: Any) -> bool:
    return bool(value) and value not in ("float32", ["float32"])


VALUE_OPTIONS: Mapping[str, ValueOption] = {
    "tflite_converter.optimizations": ValueOption(
        lambda value: any(item != "EXPERIMENTAL_SPARSITY" for item in value), "rounds weights to 8 bits"
    ),
    "tflite_converter.supported_types": ValueOption(_given, "sets the type that weights are rounded to"),
    "tflite_converter.supported_ops": ValueOption(
        lambda value: any("INT8" in item for item in value), "computes with rounded activations"
    ),
    "tflite_converter.representative_dataset": ValueOption(_given, "rounds activations to what was measured"),
    "tflite_converter.inference_input_type": ValueOption(_given, "rounds the input"),
    "tflite_converter.inference_output_type": ValueOption(_given, "rounds the output"),
    "tflite_converter.disable_per_channel": ValueOption(_given, "rounds a whole weight by one scale"),
    "tf2onnx.target": ValueOption(_given, "rewrites operators for a platform"),
    "tf2onnx.dequantize": ValueOption(_given, "keeps the rounded values, but computes without the rounding"),
    "tf2onnx.outputs_as_nchw": ValueOption(_given, "transposes outputs"),
    "onnx2tf.replace_to_pseudo_operators": ValueOption(_given, "writes operators as approximations"),
    "onnx2tf.keep_shape_absolutely_input_names": ValueOption(_given, "leaves the layout of inputs as it is"),
    "onnx2keras.change_ordering": ValueOption(_given, "rebuilds the model in another layout"),
}

REMEDIES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "torch_onnx": ({"optimize": False}, {"opset": 18}, {"opset": 20}),
    "torch_onnx_torchscript": ({"opset": 17}, {"opset": 13}, {"do_constant_folding": False}),
    "tflite_converter": ({"supported_ops": ["TFLITE_BUILTINS", "SELECT_TF_OPS"]}, {"unfold_batchmatmul": True}),
    "tf2onnx": ({"opset": 13}, {"opset": 17}, {"inputs_as_nchw": True}),
    "onnx2tf": ({"not_use_onnxsim": True}, {"disable_strict_mode": True}, {"batch_size": 1}),
    "onnx2keras": ({"name_policy": "renumerate"}, {"name_policy": "short"}),
    "nobuco": ({"trace_shape": True}, {"channels_last": False}),
}
"""Options of a tool that are worth a trial when it fails or errs, the mildest first."""


@dataclass(frozen=True)
class Alternative:
    """Another way to convert; ``reason`` says what is different about it."""

    route: Route
    reason: str

    def __str__(self) -> str:
        return str(self.route)


def examine(case: Case) -> list[Suspect]:
    """Suspects of kind ``tool``; none for two files whose conversion is not known, or where every hop agrees."""
    found: list[Suspect] = []
    before: Comparison | None = None
    for index, hop in enumerate(case.hops):
        if hop.comparison is None:
            continue
        if hop.comparison.verdict != AGREE:
            if not found:
                found.append(_suspect(case, index, hop, "hop"))
            elif before is not None and _is_worse(before, hop.comparison):
                found.append(_suspect(case, index, hop, "worse_hop"))
        before = hop.comparison
    return found


def _is_worse(before: Comparison, behind: Comparison) -> bool:
    one, other = before.max_abs_error, behind.max_abs_error
    return one is not None and (other is None or other > WORSE * one)


def value_options(record: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a hop's record that change what a model answers."""
    found = {}
    for name, value in record.get("options", {}).items():
        known = VALUE_OPTIONS.get(f"{record['tool']}.{name}")
        if known is not None and value is not None and known.applies(value):
            found[name] = value
    return found


def _suspect(case: Case, index: int, hop: Hop, cause: str) -> Suspect:
    record, comparison = hop.record, hop.comparison
    assert comparison is not None
    changing = value_options(record)
    name = next(iter(changing), None)
    tool = f"{record['tool']} {record['tool_version']}"
    place = f"hop {index + 1} of {len(case.hops)}, {record['from']} to {record['to']} by {tool}"
    first = "made the error much larger" if cause == "worse_hop" else "made the models differ"
    text = f"What {first} is {place}: {_figures(comparison)}."
    if name is not None:
        full = f"{record['tool']}.{name}"
        text += f" Its option {full}={print_value(changing[name])} {VALUE_OPTIONS[full].effect}."
    advice = [str(item.route) for item in _advice(case, index)[:3]]
    return Suspect(
        kind="tool",
        cause="option" if name is not None and cause == "hop" else cause,
        explanation=text,
        suggestion=f"Try {' or '.join(advice)}." if advice else f"Try another release of {record['tool']}.",
        attribute=name,
        expected="agree",
        actual=comparison.verdict,
        evidence={
            "hop": index,
            "tool": record["tool"],
            "tool_version": record["tool_version"],
            "versions": dict(record.get("versions", {})),
            "options": dict(record.get("options", {})),
            "changing_options": changing,
            "hops": [_row(item) for item in case.hops],
            "alternatives": advice,
        },
        confidence=0.95 if name is not None or len(case.hops) > 1 else 0.5,
        source_location=f"{record['from']} ({tool})",
        target_location=record.get("path") or f"{record['to']} ({tool})",
    )


def _figures(comparison: Comparison) -> str:
    parts = []
    if comparison.max_abs_error is not None:
        parts.append(f"the largest error is {comparison.max_abs_error:.3g}")
    if comparison.top1_disagreement:
        parts.append(f"{comparison.top1_disagreement:.1%} of the labels differ")
    return " and ".join(parts) or "; ".join(comparison.reasons) or comparison.verdict


def _row(hop: Hop) -> dict[str, Any]:
    """One line of the table of hops."""
    found = hop.comparison
    figures = {} if found is None else {"max_abs_error": found.max_abs_error, "top1": found.top1_disagreement}
    names = {name: hop.record[name] for name in ("from", "to", "tool", "tool_version")}
    return {**names, "verdict": None if found is None else found.verdict, **figures}


def _advice(case: Case, index: int) -> tuple[Alternative, ...]:
    route = route_of([hop.record for hop in case.hops])
    return () if route is None else alternatives(route, index, case.source.model.format)


def route_of(records: list[Mapping[str, Any]]) -> Route | None:
    """The route that hops' records tell of; None where a tool is not known (any more)."""
    text = ">".join([records[0]["from"], *(f"{record['to']}:{record['tool']}" for record in records)])
    try:
        route = routes.parse(text)
        options: dict[str, dict[str, Any]] = {}
        for record in records:
            options.setdefault(record["tool"], {}).update(record.get("options", {}))
        return route.with_options(options)
    except UsageError:
        return None


def alternatives(route: Route, guilty: int | None = None, source_format: str | None = None) -> tuple[Alternative, ...]:
    """Other ways for the same pair, best first: without options that change values, by other tools, by other options.

    ``guilty``: number of the hop to avoid (None: any). Ways through the same converter with the same options are left
    out; longer routes come later.
    """
    hops = range(len(route.hops)) if guilty is None else (guilty,)
    blamed = {_name(route.hops[index]) for index in hops}
    found = [*_without_options(route), *_around(route, blamed, source_format), *_other_options(route, hops)]
    found += [item for index in hops if index > 0 for item in _other_before(route, index, source_format)]
    seen, kept = {str(route)}, []
    for item in found:
        if str(item.route) not in seen:
            seen.add(str(item.route))
            kept.append(item)
    return tuple(kept)


def _name(hop: routes.Hop) -> tuple[str, str, str]:
    return hop.converter.tool, hop.converter.source, hop.converter.target


def _without_options(route: Route) -> list[Alternative]:
    """The same route without the options that change values."""
    hops, dropped = [], []
    for hop in route.hops:
        record = {"tool": hop.converter.tool, "options": hop.options}
        gone = value_options(record)
        dropped += [f"{hop.converter.tool}.{name}" for name in gone]
        hops.append(replace(hop, options={name: v for name, v in hop.options.items() if name not in gone}))
    return [Alternative(Route(tuple(hops)), f"without {', '.join(dropped)}")] if dropped else []


def _around(route: Route, blamed: set[tuple[str, str, str]], source_format: str | None) -> list[Alternative]:
    """Other routes of the pair that do not pass the blamed hops, of at most one hop more than the shortest."""
    others = [
        item
        for item in routes.all_routes(route.source, route.target)
        if not blamed & {_name(hop) for hop in item.hops}
        and (source_format is None or source_format in item.hops[0].converter.formats)
    ]
    if not others:
        return []
    longest = max(len(others[0].hops) + 1, len(route.hops))
    return [
        Alternative(item, f"by {', '.join(hop.converter.tool for hop in item.hops)}")
        for item in sorted(others, key=_effort)
        if len(item.hops) <= longest
    ]


def _effort(route: Route) -> tuple[int, int]:
    """Hops, then how many tools need an environment of their own."""
    return len(route.hops), sum(hop.converter.environment is not None for hop in route.hops)


def _other_options(route: Route, hops: range | tuple[int, ...]) -> list[Alternative]:
    """The same route with another option for a blamed hop."""
    found = []
    for index in hops:
        hop = route.hops[index]
        for values in REMEDIES.get(hop.converter.tool, ()):
            changed = replace(hop, options={**hop.options, **values})
            words = ", ".join(f"{hop.converter.tool}.{name}={print_value(value)}" for name, value in values.items())
            found.append(Alternative(Route((*route.hops[:index], changed, *route.hops[index + 1 :])), f"with {words}"))
    return found


def _other_before(route: Route, index: int, source_format: str | None) -> list[Alternative]:
    """What feeds a blamed hop otherwise: another tool before it, and other options of what stands before it."""
    found = []
    for item in routes.all_routes(route.source, route.target, len(route.hops)):
        fits = source_format is None or source_format in item.hops[0].converter.formats
        same = [_name(hop) for hop in item.hops[index:]] == [_name(hop) for hop in route.hops[index:]]
        if len(item.hops) == len(route.hops) and fits and same:
            plain = Route((*item.hops[:index], *route.hops[index:]))
            found += [Alternative(plain, f"by {item.hops[index - 1].converter.tool} before it")]
            found += _other_options(plain, (index - 1,))
    return found
