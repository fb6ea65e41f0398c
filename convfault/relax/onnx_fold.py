"""Computes ahead the sizes that an ONNX graph computes for itself (Shape → Gather → Concat → Reshape).

With static inputs they are constants, but TVM's importer loses track of them in longer chains.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convfault.relax.onnx_windows import close_windows, is_open, pad_explicitly, size_explicitly, split_sequences

FOLDED = frozenset(
    {
        "Add", "And", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather",
        "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not",
        "Or", "Range", "ReduceMax", "ReduceMin", "ReduceProd", "Reshape", "Slice", "Squeeze", "Sub", "Tile",
        "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip
SMALL = 4096
"""Elements: a constant up to this size may be a size, or take part in computing one."""

Values = dict[str, npt.NDArray[Any]]


STARTS = frozenset({"ConstantOfShape", "If", "Resize", "Shape", "Size", "SplitToSequence"})
"""Operators that a computation of sizes begins with, or that wait for its result."""


def fold_sizes(model: Any) -> None:
    """Replace every size that can be computed by an initializer of the same name, in place.

    What hangs on sizes alone is settled on the way: which branch runs, how long the parts of a sequence are, and how
    wide a padding is that is given as a word.
    """
    given = [item for node in model.graph.node for item in node.attribute]
    if (
        not any(item.name == "output_shape" or (item.name == "auto_pad" and item.s != b"NOTSET") for item in given)
        and not any(is_open(node) for node in model.graph.node)
        and not any(node.op_type in STARTS for node in model.graph.node)
    ):
        return
    constants, shapes = _constants(model.graph), _shapes(model)
    for _ in range(len(model.graph.node)):
        done = [node for node in model.graph.node if _folded(node, model, constants, shapes)]
        for node in done:
            model.graph.node.remove(node)
        branches = _choose_branches(model.graph, constants)
        split_sequences(model.graph, constants, shapes)
        sized = size_explicitly(model.graph, constants, shapes)
        if not (done or branches or sized):
            break
        if branches:
            constants = _constants(model.graph)
        shapes = _shapes(model)
    pad_explicitly(model.graph, shapes)
    close_windows(model.graph, shapes)


def _choose_branches(graph: Any, constants: Values) -> bool:
    """Put the nodes of the branch that runs in the place of every ``If`` whose condition is known, in place."""
    import onnx

    chosen = [node for node in graph.node if node.op_type == "If" and node.input[0] in constants]
    for node in chosen:
        wanted = "then_branch" if constants[node.input[0]].reshape(-1)[0] else "else_branch"
        branch = next(item.g for item in node.attribute if item.name == wanted)
        results = [value.name for value in branch.output]
        joints = [
            onnx.helper.make_node("Identity", [inner], [outer], name=f"{node.name}/{outer}")
            for inner, outer in zip(results, node.output, strict=True)
        ]
        place = list(graph.node).index(node)
        nodes = [*graph.node[:place], *branch.node, *joints, *graph.node[place + 1 :]]
        graph.initializer.extend(branch.initializer)
        copies = [onnx.NodeProto.FromString(item.SerializeToString()) for item in nodes]
        del graph.node[:]
        graph.node.extend(copies)
    return bool(chosen)


def _constants(graph: Any) -> Values:
    from onnx import numpy_helper

    found = {t.name: numpy_helper.to_array(t) for t in graph.initializer if int(np.prod(t.dims)) <= SMALL}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            if int(np.prod(tensor.dims)) <= SMALL:
                found[node.output[0]] = numpy_helper.to_array(tensor)
    return found


def _shapes(model: Any) -> dict[str, list[int]]:
    """Name → static shape, as far as ONNX can infer it; big weights are left out of what is copied for it."""
    import onnx

    light = onnx.ModelProto()
    light.opset_import.extend(model.opset_import)
    light.ir_version = model.ir_version
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if int(np.prod(tensor.dims)) <= SMALL:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    found = {}
    for value in (*inferred.value_info, *inferred.input):
        sides = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(side.HasField("dim_value") for side in sides):
            found[value.name] = [int(side.dim_value) for side in sides]
    return found


def _folded(node: Any, model: Any, constants: Values, shapes: dict[str, list[int]]) -> bool:
    """Compute one node if all that it reads is known; whether it was computed."""
    from onnx import numpy_helper

    if node.op_type == "Shape" and node.input[0] in shapes:
        start = next((a.i for a in node.attribute if a.name == "start"), 0)
        end = next((a.i for a in node.attribute if a.name == "end"), None)
        values = [np.asarray(shapes[node.input[0]][start:end], np.int64)]
    elif node.op_type == "Size" and node.input[0] in shapes:
        values = [np.asarray(int(np.prod(shapes[node.input[0]])), np.int64)]
    elif node.op_type in FOLDED and node.input and all(name in constants or not name for name in node.input):
        values = _run(node, model, constants)
    else:
        return False
    for name, value in zip(node.output, values, strict=True):
        constants[name] = value
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return True


def _run(node: Any, model: Any, constants: Values) -> list[npt.NDArray[Any]]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    names = [name for name in node.input if name]
    inputs = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(constants[n].dtype), None)
        for n in names
    ]
    outputs = [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in node.output]
    graph = onnx.helper.make_graph([node], "one", inputs, outputs)
    one = onnx.helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    return [np.asarray(value) for value in ReferenceEvaluator(one).run(None, {name: constants[name] for name in names})]
