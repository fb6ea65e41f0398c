"""What runs in a process of its own: write one canonical layer to an ONNX file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from convfault.model import Model
from convfault.relax import store
from convfault.repairing.writers.document import Value
from convfault.repairing.writers.onnx.document import OnnxDocument

OPSET, IR = 20, 9
OUTPUT = "output"


def run(folder: str, given: str) -> dict[str, Any]:
    """Job: the record of an ONNX model of the only layer of the graph in ``folder``.

    Its inputs have the names and shapes of the values ``given``. Raises ``Refusal`` for a layer that ONNX cannot hold.
    """
    place = Path(folder)
    (layer,) = store.read(place)
    with np.load(given, allow_pickle=False) as values:
        arrays = {str(name): values[str(number)] for number, name in enumerate(values["names"])}
    path = place / "layer.onnx"
    _blank(arrays, path)
    document = OnnxDocument(path)
    made = document.emit(layer, [Value(name) for name in arrays], [array.shape for array in arrays.values()])
    document.copy(document.as_layer(made, layer.shape), OUTPUT)
    document.save(path)
    return Model(str(path), "onnx").to_record()


def _blank(arrays: dict[str, Any], path: Path) -> None:
    """A model with these inputs, the output, and nothing between."""
    from onnx import TensorProto, helper, save

    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    ]
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)
    graph = helper.make_graph([], "layer", inputs, [output])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR), str(path))
