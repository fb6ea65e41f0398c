"""How the windows of two matched convolutions or pools differ, in the words of their frameworks.

Padding is compared as what the windows touch (``relax.extract_window.effective_padding``): torch's (1, 1) at stride 2
is (1, 0) where no window reaches the bottom, and TF's SAME is (0, 1). What was asked for in the native model is
spelled back from that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from convfault.localization.case import Case
from convfault.localization.hyperparameters.attribute import Attribute, differs
from convfault.relax.evaluate_window import window_of
from convfault.relax.extract_window import effective_padding
from convfault.relax.graph import Graph, Layer
from convfault.relax.kernels import Window

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
NONE: Padding = ((0, 0), (0, 0))
GEOMETRY = ("size", "strides", "dilation", "padding")
POOLS = frozenset({"max_pool", "average_pool"})


SAME_OR_VALID = frozenset({"tf", "keras", "tflite"})
"""Frameworks in which a pool has no ceiling mode: what looks like it is SAME."""


def window_attributes(case: Case, source: Layer, target: Layer) -> Iterator[Attribute]:
    """The attributes in which two layers of one windowed kind differ."""
    alike = padded_alike(case, source, target)
    source, target = _effective(case.source.graph, source), _effective(case.target.graph, target)
    names = [name for name in GEOMETRY if _differs(source, target, name)]
    if names and not (names == ["padding"] and alike):
        yield _geometry(case, source, target)
    if _differs(source, target, "groups"):
        yield _groups(source, target)
    if _differs(source, target, "divisor"):
        yield _divisor(source, target)
    elif NONE not in (source.hyperparameters.get("padding"), target.hyperparameters.get("padding")):
        if _differs(source, target, "count_padding"):
            yield _counting(source, target)
        elif _differs(source, target, "uncounted"):
            yield _counting_beyond(source, target)


def padded_alike(case: Case, source: Layer, target: Layer) -> bool:
    """Whether two layers of one windowed kind differ in their padding only because their pictures are of other sizes,
    which is an earlier layer's fault: one rule pads both."""
    if source.kind != target.kind or source.kind == "transposed_convolution":
        return False
    as_written = _written(source) == _written(target)
    source, target = _effective(case.source.graph, source), _effective(case.target.graph, target)
    return _differs(source, target, "padding") and _same_at_other_size(case, source, target, as_written)


def _effective(graph: Graph, layer: Layer) -> Layer:
    """Without what has no effect: padding no window reaches, the stride of one window, the dilation of one pixel."""
    if layer.kind == "transposed_convolution" or not _has_window(layer):
        return layer
    window, sides = window_of(layer), (layer.shape[1], layer.shape[2])
    values = {
        "padding": effective_padding(_input_size(graph, layer), sides, window),
        "strides": tuple(1 if side == 1 else step for side, step in zip(sides, layer["strides"], strict=True)),
        "dilation": tuple(1 if side == 1 else step for side, step in zip(window.size, window.dilation, strict=True)),
    }
    return replace(layer, hyperparameters={**layer.hyperparameters, **values})


def _same_at_other_size(case: Case, source: Layer, target: Layer, as_written: bool) -> bool:
    """Whether windows over pictures of different sizes, which is an earlier layer's fault, are padded by one rule."""
    sizes = [_input_size(graph, layer) for graph, layer in ((case.source.graph, source), (case.target.graph, target))]
    if sizes[0] == sizes[1]:
        return False
    if as_written:
        return True
    spelled = [spelling(layer, size) for layer, size in zip((source, target), sizes, strict=True)]
    return any(spelled[0][framework] == spelled[1].get(framework) for framework in spelled[0])


def _written(layer: Layer) -> Any:
    """The padding that the file asks for, with what no window reaches."""
    return layer.details.get("padding", layer.hyperparameters.get("padding"))


def _input_size(graph: Graph, layer: Layer) -> Pair:
    _, height, width, _ = graph[layer.inputs[0]].shape
    return height, width


def _has_window(layer: Layer) -> bool:
    return "weights" in layer.parameters or "size" in layer.hyperparameters


def _differs(source: Layer, target: Layer, name: str) -> bool:
    return differs(source.hyperparameters.get(name), target.hyperparameters.get(name))


def _geometry(case: Case, source: Layer, target: Layer) -> Attribute:
    """Size, strides, dilation and padding determine the output's shape together: they are one fault."""
    names = [name for name in GEOMETRY if _differs(source, target, name)]
    values = {name: source[name] for name in names}
    if source.kind == "average_pool" and "padding" in names:
        values |= _counted(source)
    first = names[0]
    graphs = (case.source.graph, case.target.graph)
    pictures = [_input_size(graph, layer) for graph, layer in zip(graphs, (source, target), strict=True)]
    evidence: dict[str, Any] = {
        "source": {name: source[name] for name in GEOMETRY if name in source.hyperparameters},
        "target": {name: target[name] for name in GEOMETRY if name in target.hyperparameters},
        "input_size": pictures[1],
    }
    if first != "padding":
        cause = "window_size" if first == "size" else first
        words = {"size": "window", "strides": "stride", "dilation": "dilation"}[first]
        phrase = f"The {words} is {_pair(target[first])} instead of {_pair(source[first])}."
        return Attribute(cause, first, values, source[first], target[first], phrase, evidence, tuple(names[1:]))
    return _padding(case, source, target, (values, evidence))


def _padding(case: Case, source: Layer, target: Layer, found: tuple[dict[str, Any], dict[str, Any]]) -> Attribute:
    """Windows that are alike but for their padding."""
    values, evidence = found
    pictures = [_input_size(case.source.graph, source), evidence["input_size"]]
    spelled = [spelling(layer, picture) for layer, picture in zip((source, target), pictures, strict=True)]
    evidence["spelled"] = {"source": spelled[0], "target": spelled[1]}
    same_or_valid = case.source.model.framework in SAME_OR_VALID and all("tf" in text for text in spelled)
    rounding = None if same_or_valid else _rounding(source, target)
    cause, reason = ("ceil_mode", rounding) if rounding is not None else _padding_cause(source, target)
    texts = [edges(layer["padding"]) + _aside(text) for layer, text in zip((source, target), spelled, strict=True)]
    phrase = f"The padding is {texts[1]} instead of {texts[0]}: {reason}."
    return Attribute(cause, "padding", values, texts[0], texts[1], phrase, evidence)


def _pair(value: Any) -> str:
    return "×".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


def edges(padding: Padding) -> str:
    """A padding in words."""
    (top, bottom), (left, right) = padding
    if padding == NONE:
        return "none"
    return f"top {top}, bottom {bottom}, left {left}, right {right}"


def _aside(spelled: Mapping[str, str]) -> str:
    return f" ({spelled['tf']} in TF)" if spelled.get("tf") in {"SAME"} else ""


def _padding_cause(source: Layer, target: Layer) -> tuple[str, str]:
    """The stable word for two paddings of otherwise equal windows, and why it is called so."""
    want, have = source["padding"], target["padding"]
    if have == NONE:
        return "padding_missing", "it was lost (VALID)"
    if want == NONE:
        return "padding_added", "the source does not pad (VALID)"
    if have in {(want[1], want[0]), ((want[0][0], want[1][0]), (want[0][1], want[1][1]))}:
        return "padding_axes", "the axes or edges are exchanged"
    if all(sum(a) == sum(b) or _shift(a, b) for a, b in zip(want, have, strict=True)):
        return "asymmetric_padding", "the windows start elsewhere, as SAME of TF and symmetric padding of torch do"
    return "padding", "another amount"


def _shift(a: Pair, b: Pair) -> bool:
    """Whether the windows begin at another pixel, and the sums differ only by what a stride leaves unread."""
    return a[0] != b[0] and abs(sum(a) - sum(b)) <= 1


def _rounding(source: Layer, target: Layer) -> str | None:
    """A pool that begins at the same pixel and has a window more or less at the far edges."""
    if source.kind not in POOLS or any(a[0] != b[0] for a, b in zip(source["padding"], target["padding"], strict=True)):
        return None
    sizes = [layer.shape[1:3] for layer in (source, target)]
    steps = [b - a for a, b in zip(*sizes, strict=True)]
    if not any(steps) or any(abs(step) > 1 for step in steps):
        return None
    if source["padding"][0][0] == 0 and not _fits(source, target, steps):
        return None
    up = "up" if sum(steps) > 0 else "down"
    other = "down" if up == "up" else "up"
    return f"the output's size is rounded {up} where the source rounds {other} (ceil_mode)"


def _fits(source: Layer, target: Layer, steps: list[int]) -> bool:
    """Whether the larger of two unpadded pools reads beyond the edge no more than ceiling mode does."""
    larger = target if sum(steps) > 0 else source
    beyond = (larger["padding"][0][1], larger["padding"][1][1])
    return all(width < stride for width, stride in zip(beyond, larger["strides"], strict=True))


def spelling(layer: Layer, picture: Pair) -> dict[str, str]:
    """How frameworks spell a layer's padding: ``tf`` SAME or VALID, ``torch`` padding=n and ceil_mode."""
    window, size = window_of(layer), picture
    result = (layer.shape[1], layer.shape[2])
    if layer.kind == "transposed_convolution":
        return {}
    spelled = {}
    same = tuple(_same(side, window, axis) for axis, side in enumerate(size))
    if result == tuple(-(-side // step) for side, step in zip(size, window.strides, strict=True)) and (
        _touched(size, result, window, same) == window.padding
    ):
        spelled["tf"] = "SAME"
    elif window.padding == NONE:
        spelled["tf"] = "VALID"
    return {**spelled, **_in_torch(layer, window, size, result)}


def _in_torch(layer: Layer, window: Window, size: Pair, result: Pair) -> dict[str, str]:
    """padding=n where symmetric padding touches the same, with ceil_mode where the size is so rounded."""
    before = (window.padding[0][0], window.padding[1][0])
    even = ((before[0], before[0]), (before[1], before[1]))
    symmetric = Window(window.size, window.strides, even, window.dilation)
    text = f"padding={before[0] if before[0] == before[1] else before}"
    if _touched(size, symmetric.output(*size), window, even) == window.padding and symmetric.output(*size) == result:
        return {"torch": text}
    raised = tuple(side + 1 for side in symmetric.output(*size))
    if layer.kind in POOLS and any(a == b for a, b in zip(raised, result, strict=True)):
        return {"torch": f"{text}, ceil_mode=True"}
    top, bottom, left, right = (width for pair in window.padding for width in pair)
    return {"torch": f"ZeroPad2d(({left}, {right}, {top}, {bottom})), then padding=0"}


def _same(side: int, window: Window, axis: int) -> Pair:
    """TF's SAME along one axis: just enough, the odd pixel at the end."""
    reach = (window.size[axis] - 1) * window.dilation[axis] + 1
    total = max((-(-side // window.strides[axis]) - 1) * window.strides[axis] + reach - side, 0)
    return total // 2, total - total // 2


def _touched(size: Pair, result: Pair, window: Window, padding: Any) -> Padding:
    return effective_padding(size, result, Window(window.size, window.strides, padding, window.dilation))


def _groups(source: Layer, target: Layer) -> Attribute:
    phrase = f"The channels are convolved in {target['groups']} groups instead of {source['groups']}."
    evidence = {"channels": source.shape[-1]}
    values = {"groups": source["groups"]}
    return Attribute("groups", "groups", values, source["groups"], target["groups"], phrase, evidence)


def _divisor(source: Layer, target: Layer) -> Attribute:
    """What the sum of each window is divided by, where one side sets it."""
    expected, actual = (layer.hyperparameters.get("divisor") for layer in (source, target))
    texts = ["the number of its pixels" if value is None else f"{value:g}" for value in (expected, actual)]
    phrase = f"The sum over each window is divided by {texts[1]} instead of {texts[0]}."
    values = {"divisor": expected} | _counted(source)
    evidence = {"spelled": {"torch": f"divisor_override={actual} instead of {expected}"}}
    return Attribute("divisor", "divisor_override", values, expected, actual, phrase, evidence)


def _counting(source: Layer, target: Layer) -> Attribute:
    expected, actual = source["count_padding"], target["count_padding"]
    phrase = "The average counts the padding, which the source leaves out." if actual else (
        "The average leaves out the padding, which the source counts."
    )  # fmt: skip
    values = _counted(source)
    evidence = {"spelled": {"torch, onnx": f"count_include_pad={actual} instead of {expected}"}}
    return Attribute("count_include_pad", "count_include_pad", values, expected, actual, phrase, evidence)


def _counted(source: Layer) -> dict[str, Any]:
    """What an average counts: None takes an attribute away that a layer may lack."""
    return {"count_padding": source["count_padding"], "uncounted": source.hyperparameters.get("uncounted")}


def _counting_beyond(source: Layer, target: Layer) -> Attribute:
    """Windows that reach beyond the padding, as ceiling mode lets them: torch's averages leave out what lies there."""
    expected, actual = (layer.hyperparameters.get("uncounted") or NONE for layer in (source, target))
    texts = ["all of it" if edge == NONE else f"not {edges(edge)}" for edge in (expected, actual)]
    phrase = f"Of the padding the average counts {texts[1]}, where the source counts {texts[0]} (ceil_mode)."
    evidence = {"spelled": {"torch": f"ceil_mode={actual != NONE} instead of {expected != NONE}"}}
    return Attribute("ceil_mode", "ceil_mode", _counted(source), expected, actual, phrase, evidence)
