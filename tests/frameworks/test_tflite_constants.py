"""Constants of TFLite files: behind the flatbuffer, several in a byte, with scales of their own for each block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

from ai_edge_litert import schema_py_generated as schema

from convfault.errors import FormatError
from convfault.flatbuffer import gathered, packed
from convfault.frameworks.base import Perturbation
from convfault.frameworks.tflite_weights import perturbed
from convfault.localization.tool.cut_tflite import Cutter
from convfault.model import Model
from convfault.relax.edits import SetParameters
from convfault.relax.imported import Encoding
from convfault.relax.tflite_dequantize import integers, real_values
from convfault.repairing.writers import WRITERS
from tests import tiny
from tests.repairing.views import view


def tree_of(content: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def behind(content: bytes) -> bytes:
    """The file with every constant behind its flatbuffer, where Google's quantizer writes them."""
    tree = tree_of(content)
    data = [b"" if buffer.data is None else bytes(buffer.data) for buffer in tree.buffers]
    places = [2] * len(data)  # of the same size as the true ones: the flatbuffer stays as long
    for _ in range(2):
        for buffer, held, place in zip(tree.buffers, data, places, strict=True):
            buffer.data = None
            buffer.offset, buffer.size = (place, len(held)) if held else (0, 0)
        flat = packed(tree)
        starts = np.cumsum([0, *(-(-len(held) // 16) * 16 for held in data)])
        places = [int(-(-len(flat) // 16) * 16 + start) for start in starts[:-1]]
    file = bytearray(flat)
    for held, place in zip(data, places, strict=True):
        file.extend(bytes(place - len(file)) + held if held else b"")
    return bytes(file)


def answers(content: bytes) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given["index"], (2, *given["shape"][1:]))
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], tiny.pictures(2))
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(made["index"]))


@pytest.fixture(params=[None, "dynamic", "float16"])
def apart(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The tiny model with its constants behind the flatbuffer."""
    content = tiny.tflite_model(tmp_path, request.param).read_bytes()
    path = tmp_path / "apart.tflite"
    path.write_bytes(behind(content))
    assert not any(buffer.data is not None and len(buffer.data) for buffer in tree_of(path.read_bytes()).buffers[1:])
    np.testing.assert_array_equal(answers(path.read_bytes()), answers(content))
    return path


def test_constants_behind_the_flatbuffer_are_gathered_and_answer_alike(apart: Path) -> None:
    content = apart.read_bytes()
    inside = gathered(content, schema)
    assert all(buffer.offset == 0 for buffer in tree_of(inside).buffers)
    np.testing.assert_array_equal(answers(inside), answers(content))
    assert gathered(inside, schema) is inside


def test_a_file_that_is_cut_off_behind_its_flatbuffer_is_refused(apart: Path) -> None:
    with pytest.raises(FormatError, match="cut off"):
        gathered(apart.read_bytes()[:-64], schema)


def test_a_model_with_constants_behind_it_has_the_same_graph_and_is_written(apart: Path, tmp_path: Path) -> None:
    inside = tmp_path / "inside.tflite"
    inside.write_bytes(gathered(apart.read_bytes(), schema))
    found, wanted = view(apart), view(inside)
    assert [layer.kind for layer in found.graph] == [layer.kind for layer in wanted.graph]
    for layer in wanted.graph:
        for name, parameter in layer.parameters.items():
            np.testing.assert_array_equal(found.graph[layer.id].parameters[name].values, parameter.values)
    dense = next(layer for layer in found.graph if layer.kind == "dense")
    edit = SetParameters(dense.id, {"bias": dense.parameters["bias"].values + 1})
    out = tmp_path / "out.tflite"
    WRITERS["tflite"](found.model, found.graph, [edit], out)
    changed = view(out).graph
    np.testing.assert_allclose(
        changed[dense.id].parameters["bias"].values, dense.parameters["bias"].values + 1, rtol=1e-6
    )


def test_weights_behind_the_flatbuffer_are_perturbed_like_others(apart: Path) -> None:
    content = apart.read_bytes()
    found = answers(perturbed(content, Perturbation()))
    assert 0 < np.abs(found - answers(content)).max() < 1e-3


def test_a_piece_of_a_model_with_constants_behind_it_holds_those_it_needs(apart: Path, tmp_path: Path) -> None:
    cutter = Cutter(Model.from_path(str(apart)))
    piece = cutter.write(tuple(range(len(cutter.nodes))), tmp_path)
    assert piece is not None
    np.testing.assert_array_equal(answers(Path(piece.model.path).read_bytes()), answers(apart.read_bytes()))


@pytest.mark.parametrize(
    ("dtype", "packed_bytes", "stored"),
    [
        ("int2", [0b11_10_01_00], [0, 1, -2, -1]),
        ("int4", [0xF0, 0x87], [0, -1, 7, -8]),
        ("uint4", [0xF0, 0x87], [0, 15, 7, 8]),
        ("int8", [0, 1, 127, 128], [0, 1, 127, -128]),
    ],
)
def test_small_integers_share_a_byte_the_first_in_its_lowest_bits(
    dtype: str, packed_bytes: list[int], stored: list[int]
) -> None:
    encoding = Encoding("weights", dtype, (0.5,), (1,), 0, constant=True)
    found = real_values(np.array(packed_bytes, np.uint8), (2, 2), encoding)
    np.testing.assert_array_equal(found.reshape(-1), (np.array(stored) - 1) * np.float32(0.5))


def test_a_block_of_values_has_a_scale_of_its_own() -> None:
    tree = schema.ModelT()
    tree.buffers = [schema.BufferT(), schema.BufferT()]
    tree.buffers[1].data = np.array([[1, 2], [3, 4]], np.float16).view(np.uint8).reshape(-1)
    weights, scales = schema.TensorT(), schema.TensorT()
    scales.buffer, scales.shape, scales.type = 1, [2, 2], schema.TensorType.FLOAT16
    weights.shape, weights.quantization = [2, 6], schema.QuantizationParametersT()
    weights.quantization.details = schema.BlockwiseQuantizationT()
    weights.quantization.details.scales, weights.quantization.details.blockSize = 0, 3
    graph = schema.SubGraphT()
    graph.tensors, tree.subgraphs = [scales, weights], [graph]
    encoding = integers(tree, weights, "INT8", "weights", True)
    assert encoding is not None
    assert encoding.blocks == (1, 3)
    found = real_values(np.ones(12, np.uint8), (2, 6), encoding)
    np.testing.assert_array_equal(found, [[1, 1, 1, 2, 2, 2], [3, 3, 3, 4, 4, 4]])


def test_an_operator_that_the_old_field_does_not_name_is_read_from_the_new_one(tmp_path: Path) -> None:
    path = tiny.tflite_model(tmp_path, None)
    wanted = view(path).graph
    tree = tree_of(path.read_bytes())
    for code in tree.operatorCodes:
        code.deprecatedBuiltinCode = 0
    path.write_bytes(packed(tree))
    found = view(path).graph
    assert [layer.kind for layer in found] == [layer.kind for layer in wanted]
    assert not found.unsupported
