"""A value that an ONNX file computes in half precision can be kept in single precision, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from convfault.relax.onnx_half import half_values
from convfault.repairing.writers.change import Refusal
from convfault.repairing.writers.onnx.document import OnnxDocument
from tests.relax.quantized import answer, arrays, float_file, half_file, model, nodes, pictures


def computed(path: Path) -> list[str]:
    """The values in half precision that are no ends of the model."""
    import onnx

    proto = onnx.load(path)
    ends = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    return sorted(half_values(proto) - ends)


def kept(path: Path, tensors: list[str]) -> Path:
    document = OnnxDocument(path)
    for tensor in tensors:
        if tensor in document.halves:
            document.keep_float(tensor)
    out = path.with_name("kept.onnx")
    document.save(out)
    return out


def checked(path: Path) -> list[str]:
    """The operators of a file that is as ONNX wants it."""
    import onnx

    proto = onnx.shape_inference.infer_shapes(onnx.load(path))
    onnx.checker.check_model(proto)
    return [node.op_type for node in proto.graph.node]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_model_kept_in_single_precision_everywhere_computes_nothing_in_half(backwards: bool, tmp_path: Path) -> None:
    path = half_file(tmp_path, ends=True)
    tensors = computed(path)
    assert len(tensors) > 5, "or nothing is tried"
    out = kept(path, tensors[::-1] if backwards else tensors)
    assert computed(out) == []
    stored = {name: values.astype(np.float16).astype(np.float32) for name, values in arrays().items()}
    (expected,) = answer(model(nodes(), stored), pictures())
    np.testing.assert_allclose(answer(out, pictures())[0], expected, atol=1e-6)
    assert "Cast" in checked(out), "the weights stay small"


def test_one_value_kept_leaves_the_others_in_half_precision(tmp_path: Path) -> None:
    path = half_file(tmp_path, ends=True)
    out = kept(path, ["c2"])
    assert set(computed(path)) - set(computed(out)) == {"c2"}
    (found,), (before,) = answer(out, pictures()), answer(path, pictures())
    np.testing.assert_allclose(found, before, atol=0.01 * np.abs(before).max())
    checked(out)


@pytest.mark.parametrize("tensor", ["x", "y"])
def test_what_the_model_is_given_and_answers_stays_as_it_is(tensor: str, tmp_path: Path) -> None:
    document = OnnxDocument(half_file(tmp_path, ends=False))
    with pytest.raises(Refusal, match="given or answers"):
        document.keep_float(tensor)
    assert document.changes == []


def test_a_model_in_single_precision_has_nothing_to_keep(tmp_path: Path) -> None:
    assert OnnxDocument(float_file(tmp_path)).halves == set()


def test_weights_in_single_precision_leave_no_rounding_between_the_operators(tmp_path: Path) -> None:
    from convfault.repairing.writers import WRITERS
    from tests.repairing.views import restoring, view

    path, exact = half_file(tmp_path, ends=True), float_file(tmp_path)
    target, source = view(path), view(exact)
    out = tmp_path / "restored.onnx"
    WRITERS["onnx"](target.model, target.graph, restoring(source.graph, target.graph), out)
    (found,), (wanted,), (before,) = (answer(each, pictures()) for each in (out, exact, path))
    assert np.abs(found - wanted).max() < 1e-6 < np.abs(before - wanted).max()
    assert computed(out) == []
    checked(out)


@pytest.mark.parametrize("constant", [2**0.5, 3.0])
def test_the_constants_of_a_formula_get_their_digits_back(constant: float, tmp_path: Path) -> None:
    """gelu, and something that only looks like it."""
    import onnx
    from onnx import helper

    from convfault.repairing.writers import WRITERS
    from tests.repairing.views import restoring, view

    def gelu(kind: type) -> Path:
        made = [
            *nodes()[:-1],
            helper.make_node("Gemm", ["flat", "head", "head_bias"], ["g"], "gemm"),
            helper.make_node("Div", ["g", "divisor"], ["d"], "divide"),
            helper.make_node("Erf", ["d"], ["e"], "erf"),
            helper.make_node("Add", ["e", "one"], ["a"], "add_one"),
            helper.make_node("Mul", ["g", "a"], ["m"], "multiply"),
            helper.make_node("Mul", ["m", "half"], ["z"], "halve"),
            helper.make_node("Cast", ["z"], ["y"], "end", to=onnx.TensorProto.FLOAT),
        ]
        made[0].input[0] = "x_in"
        made.insert(
            0, helper.make_node("Cast", ["x"], ["x_in"], "begin", to=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))
        )
        constants = {**arrays(), "divisor": np.asarray(constant), "one": np.asarray(1.0), "half": np.asarray(0.5)}
        place = tmp_path / f"{kind.__name__}.onnx"
        onnx.save(model(made, {name: values.astype(kind) for name, values in constants.items()}), place)
        return place

    exact, path = gelu(np.float32), gelu(np.float16)
    target, source = view(path), view(exact)
    assert ("gelu" in [layer.kind for layer in target.graph]) == (constant == 2**0.5)
    out = tmp_path / "restored.onnx"
    changes = WRITERS["onnx"](target.model, target.graph, restoring(source.graph, target.graph), out)
    assert all(change.before != change.after for change in changes)
    (found,), (wanted,) = answer(out, pictures()), answer(exact, pictures())
    assert np.abs(found - wanted).max() < 1e-6
