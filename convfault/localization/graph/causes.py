"""What the report says about differences of the graph: the record of each cause, and the sentence about one region."""

from __future__ import annotations

from collections.abc import Mapping

from convfault.localization.cause import Cause
from convfault.localization.graph.contrast import Contrast
from convfault.relax.graph import Graph, Layer

CAUSES: Mapping[str, Cause] = {
    "missing_node": Cause(
        "a node of the source has no counterpart in the target",
        "a converter leaves out an operator that it takes for a no-op or does not know",
        "a ReLU after an addition that was lost in a fusion",
        "insert the node at its place in the target",
    ),
    "extra_node": Cause(
        "the target computes something that the source does not",
        "a converter adds a node for an attribute that it reads wrongly, or fuses an activation that is not there",
        "a second activation behind a convolution that has one already",
        "take the node out of the target",
    ),
    "misplaced_node": Cause(
        "the same nodes in another order",
        "a converter moves an operator over another one with which it does not commute",
        "the activation before the addition of a residual block instead of behind it",
        "put the node back to its place",
    ),
    "duplicated_node": Cause(
        "a node is applied twice in a row",
        "an operator is written by its own handler and once more by a fused one",
        "batch normalization folded into the weights and kept as a node, too",
        "take the repetition out of the target",
    ),
    "rewired": Cause(
        "a node reads another node's output than in the source",
        "tensors of one name are confused, or a branch is taken from the wrong side of an operator",
        "a residual connection that starts behind the activation instead of before it",
        "connect the node as in the source",
    ),
    "input_order": Cause(
        "a node reads its inputs in another order",
        "operands are sorted by name, or a constant operand is always put second",
        "onnx2tf 1.4.2 swapped the operands of a subtraction (issue 107)",
        "swap the inputs back",
    ),
    "wrong_operator": Cause(
        "another operator stands in a node's place",
        "a converter maps an operator to a similar one",
        "average pooling in place of max pooling",
        "put the source's operator in its place",
    ),
    "changed_node": Cause(
        "a node of the same kind stands there, but does not do the same",
        "a converter reads or writes several attributes of the operator wrongly",
        "a convolution with other weights and strides",
        "put the source's node in its place",
    ),
    "replaced_nodes": Cause(
        "the target has other nodes at this place, and they do not compute the same",
        "a converter spells an operator as several ones that only resemble it",
        "a hard swish as a product with a sigmoid",
        "put the source's nodes in their place",
    ),
    "superfluous_transpose": Cause(
        "the target permutes axes that the source leaves alone",
        "the converter guesses the layout, mostly where height, width and channels are equal",
        "onnx2tf's transposes where height equals channels (issue 454)",
        "take the transpose out, or pin the layout by the converter's option",
    ),
    "missing_transpose": Cause(
        "the source permutes axes, the target does not",
        "the converter takes the transpose for one of layout and cancels it",
        "a channel shuffle without its transpose",
        "insert the transpose",
    ),
    "wrong_transpose": Cause(
        "axes are permuted in another order",
        "the permutation is translated to another layout wrongly",
        "a channel shuffle that permutes height and width",
        "set the source's order of axes",
    ),
    "superfluous_reshape": Cause(
        "the target takes numbers apart into another shape",
        "a shape is computed in another layout",
        "a reshape to (1, -1) where there is more than one picture",
        "take the reshape out",
    ),
    "missing_reshape": Cause(
        "the source reshapes, the target does not",
        "the reshape is taken for a no-op",
        "a flatten that was dropped",
        "insert the reshape",
    ),
    "wrong_reshape": Cause(
        "the target reshapes otherwise",
        "the shape is given in another layout",
        "groups and channels of a channel shuffle swapped",
        "set the source's shape",
    ),
    "flatten_order": Cause(
        "a picture is flattened in another order than the weights behind it were made for",
        "a model with channels first is converted to channels last, the weights of the first dense layer are not",
        "VGG's first dense layer behind 7x7 pictures of 512 channels",
        "transpose before the reshape, or permute the rows of the dense layer's weights",
    ),
    "softmax_missing": Cause(
        "the target answers raw scores, the source probabilities",
        "the source's loss or its last layer holds the softmax and the converter leaves it out",
        "an export that ends before the last activation",
        "append a softmax to the target",
    ),
    "softmax_extra": Cause(
        "the target answers probabilities, the source raw scores",
        "a converter or an export script appends a softmax",
        "a Keras head with softmax built for weights of a torch model",
        "take the softmax out of the target",
    ),
    "softmax_twice": Cause(
        "softmax is applied twice, which makes all answers almost equal",
        "the model ends with one and the converter adds another",
        "a head with softmax that is wrapped for serving",
        "take the second softmax out",
    ),
    "missing_output": Cause(
        "the target lacks an output of the source",
        "the converter folds an output away or keeps the first only",
        "onnxscript.optimizer 0.5.6 (issue 2728)",
        "declare the tensor as an output of the target",
    ),
    "extra_output": Cause(
        "the target has outputs that the source has not got",
        "inner tensors or states are exported as outputs",
        "onnx2tflite's extra outputs (issue 98)",
        "take them from the list of outputs",
    ),
    "reordered_outputs": Cause(
        "the outputs come in another order",
        "outputs are sorted by name",
        "TFLite's signature sorts the outputs of a detector",
        "restore the order of the outputs, or read them by name",
    ),
    "extra_input": Cause(
        "the target has a placeholder that the source has not got",
        "a constant or the training flag was exported as an input",
        "onnx2tflite's additional placeholder (issue 98)",
        "replace the placeholder by its constant",
    ),
    "train_mode_dropout": Cause(
        "the target drops values at random, as in training",
        "the model was exported without being put in evaluation mode",
        "torch.onnx.export(training=TrainingMode.TRAINING)",
        "call model.eval() before the export",
    ),
    "train_mode_batch_norm": Cause(
        "batch normalization takes the statistics of the batch instead of the learnt ones",
        "the model was exported without being put in evaluation mode",
        "a SavedModel traced with training=True",
        "call model.eval(), or trace with training=False, before the export",
    ),
    "unknown_operator_differs": Cause(
        "an operator that convfault cannot compute answers otherwise than the source's nodes at its place",
        "a custom or rare operator stands for several common ones",
        "a vendor's fused attention",
        "convert without this operator, or put the source's nodes in its place",
    ),
}

WORDS = {
    "add": "addition", "average_pool": "average pooling", "clip": "clipping", "concat": "concatenation",
    "dense": "dense layer", "divide": "division", "max_pool": "max pooling", "multiply": "multiplication",
    "pad": "padding", "subtract": "subtraction", "opaque": "operator",
}  # fmt: skip


def named(layer: Layer) -> str:
    """The layer's native name."""
    return next(iter(layer.called), layer.native.tensor or layer.id)


def called(layer: Layer) -> str:
    """The native name as a sentence has it: of those that TFLite joins in a fused operator the first."""
    first, more, _ = named(layer).partition(";")
    return f"{first};…" if more else first


def outputs_of(graph: Graph) -> list[str]:
    """The native names of the graph's outputs."""
    return [graph[name].native.tensor or named(graph[name]) for name in graph.outputs]


def worded(layer: Layer) -> str:
    """The layer as a person would say it: what it does, and its native name."""
    word = WORDS.get(layer.kind, layer.kind.replace("_", " "))
    if layer.kind == "clip" and layer["minimum"] == 0:
        word = {6.0: "ReLU6", float("inf"): "ReLU"}.get(layer["maximum"], word)
    if layer.kind == "opaque":
        word = f"operator {layer['operator']}"
    return f"{word} '{called(layer)}'"


def _listed(layers: tuple[Layer, ...]) -> str:
    words = [worded(layer) for layer in layers]
    if len(words) > 4:
        words = [*words[:3], f"{len(words) - 3} more nodes"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _where(contrast: Contrast) -> str:
    """Between which target layers the region lies."""
    target, matched = contrast.pairing.target, contrast.pairing.to_source
    before = {name for layer in contrast.extra for name in layer.inputs if name in matched}
    before |= {str(slot.actual) for slot in contrast.region.slots if slot.actual in matched}
    parts = []
    if before:
        parts.append("behind " + _names(target, sorted(before, key=target.position)))
    if contrast.region.readers:
        parts.append("before " + _names(target, [match.target for match in contrast.region.readers]))
    return " and ".join(parts)


def _names(graph: Graph, ids: list[str]) -> str:
    return ", ".join(f"'{called(graph[name])}'" for name in ids[:2])


def explained(contrast: Contrast, cause: str) -> str:
    """One or two plain sentences about this region."""
    missing, extra = contrast.left
    if cause == "misplaced_node":
        return _misplacement(contrast)
    if contrast.region.outputs:
        return _output_lists(contrast, cause)
    if cause in {"rewired", "input_order"}:
        return _connections(contrast)
    where = _where(contrast)
    if cause.startswith("train_mode"):
        return (
            f"{_capital(_listed(contrast.extra))} of the target, {where}, works as in training: {CAUSES[cause].finds}."
        )
    if cause == "unknown_operator_differs":
        unknown = tuple(layer for layer in contrast.extra if layer.kind == "opaque")
        return (
            f"{_capital(_listed(unknown))} of the target, {where}, cannot be computed here, but what it gave in "
            f"the target's own run is not what {_listed(contrast.missing) or 'its input'} of the source gives."
        )
    if missing and extra and cause != "missing_node":
        return f"The source has {_listed(missing)}, the target has {_listed(extra)} in its place, {where}."
    if contrast.joint is not None and len(missing or extra) > 1:
        side, count = ("source", len(missing) - 1) if missing else ("target", len(extra) - 1)
        end = "is missing in the target" if missing else "is not in the source"
        nodes = "a node" if count == 1 else f"{count} nodes"
        return f"The {side}'s {worded(contrast.joint)}, with the branch of {nodes} that it joins, {end}, {where}."
    if missing:
        return f"The source's {_listed(missing)} is missing in the target, {where}."
    return f"The target has {_listed(extra)}, {where}, which the source has not got."


def _misplacement(contrast: Contrast) -> str:
    source, target = contrast.pairing.source, contrast.pairing.target
    layers = contrast.missing or tuple(source[match.source] for match in contrast.region.readers)
    order = [called(target[slot.reader.target]) for slot in contrast.region.slots if slot.reader is not None]
    names = ", ".join(f"'{name}'" for name in dict.fromkeys(order))
    return f"{_capital(_listed(layers))} of the source stands at another place in the target; look at {names}."


def _output_lists(contrast: Contrast, cause: str) -> str:
    source, target = contrast.pairing.source, contrast.pairing.target
    lists = [", ".join(f"'{name}'" for name in outputs_of(graph)) for graph in (source, target)]
    return f"{_capital(CAUSES[cause].finds)}: the source's are {lists[0]}, the target's are {lists[1]}."


def _connections(contrast: Contrast) -> str:
    source, target = contrast.pairing.source, contrast.pairing.target
    sentences = []
    for match in contrast.region.readers[:2]:
        expected = ", ".join(f"'{called(source[name])}'" for name in source[match.source].inputs)
        actual = ", ".join(f"'{called(target[name])}'" for name in target[match.target].inputs)
        layer = _capital(worded(target[match.target]))
        sentences.append(f"{layer} of the target reads {actual}; in the source it reads {expected}.")
    if not sentences:
        slot = contrast.region.slots[0]
        expected, actual = called(source[str(slot.expected)]), called(target[str(slot.actual)])
        sentences.append(f"The target's output is '{actual}', the source's is '{expected}'.")
    return " ".join(sentences)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
