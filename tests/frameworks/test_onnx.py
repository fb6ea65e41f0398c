from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convfault.errors import FormatError, InputError
from convfault.frameworks.base import Perturbation
from convfault.frameworks.onnx import ONNX
from convfault.model import Model
from tests import tiny


def answer(path: Path, perturbation: Perturbation | None = None) -> np.ndarray:
    with ONNX.open(Model.from_path(str(path)), perturbation) as session:
        return session.run({"picture": tiny.pictures(4, layout="NCHW")}).output()


def external(folder: Path, location: str) -> Path:
    """The tiny model whose head's weights are said to be in ``location``."""
    import onnx

    proto = tiny.onnx_proto()
    tensor = next(t for t in proto.graph.initializer if t.name == "classifier.weight")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="length", value="2560")
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_inner_values_are_those_of_the_reference_implementation(tiny_onnx: Path) -> None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    from convfault.frameworks.onnx_proto import observable

    pictures = tiny.pictures(3, layout="NCHW")
    wanted = observable(onnx.load(tiny_onnx))
    names = [value.name for value in wanted.graph.output]
    values = dict(zip(names, ReferenceEvaluator(wanted).run(names, {"picture": pictures}), strict=True))
    with ONNX.open(Model.from_path(str(tiny_onnx))) as session:
        assert [spec.name for spec in session.tensors()][:3] == ["stem", "stem_norm", "stem_relu"]
        assert {spec.name for spec in session.tensors()} == set(names)
        trace = session.run({"picture": pictures}, names)
    for name in names:
        np.testing.assert_allclose(trace.tensors[name], values[name], rtol=1e-4, atol=1e-5)


def test_external_data_is_read_and_perturbed_like_internal(tmp_path: Path, tiny_onnx: Path) -> None:
    path = tiny.onnx_model(tmp_path, external=True)
    assert (tmp_path / "tiny.onnx.data").stat().st_size > 5000
    np.testing.assert_array_equal(answer(path), answer(tiny_onnx))
    np.testing.assert_array_equal(answer(path, Perturbation(1e-3)), answer(tiny_onnx, Perturbation(1e-3)))


def test_external_data_outside_of_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(2560))
    (tmp_path / "inner").mkdir()
    with pytest.raises(InputError, match=r"'classifier.weight' in '\.\./secret', outside"):
        answer(external(tmp_path / "inner", "../secret"))
    (tmp_path / "inner" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="outside"):
        answer(external(tmp_path / "inner", "link"))


def test_external_data_that_lacks_or_ends_early_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which is not in"):
        answer(external(tmp_path, "weights"))
    (tmp_path / "weights").write_bytes(bytes(100))
    with pytest.raises(FormatError, match=r"truncated: the tensor 'classifier.weight' ends at byte 2560"):
        answer(external(tmp_path, "weights"))
    (tmp_path / "weights").write_bytes(bytes(2560))
    assert answer(external(tmp_path, "weights")).shape == (4, 10)


def test_operator_of_another_library_is_named(tmp_path: Path) -> None:
    proto = tiny.onnx_proto()
    proto.graph.node[2].domain, proto.graph.node[2].op_type = "my.company", "Clipper"
    path = tmp_path / "custom.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(FormatError, match=r"operator Clipper of 'my\.company'"):
        answer(path)


def test_function_of_the_models_own_domain_is_no_foreign_operator(tmp_path: Path) -> None:
    from onnx import helper

    proto = tiny.onnx_proto()
    body = helper.make_node("Relu", ["a"], ["b"])
    proto.functions.append(
        helper.make_function("my.company", "MyRelu", ["a"], ["b"], [body], [helper.make_opsetid("", 17)])
    )
    proto.opset_import.append(helper.make_opsetid("my.company", 1))
    node = next(node for node in proto.graph.node if node.op_type == "Relu")
    node.domain, node.op_type = "my.company", "MyRelu"
    path = tmp_path / "function.onnx"
    path.write_bytes(proto.SerializeToString())
    assert answer(path).shape == (4, 10)


def test_wrong_operator_version_or_wiring_is_one_sentence(tmp_path: Path) -> None:
    proto = tiny.onnx_proto()
    proto.graph.node[5].input[0] = "nowhere"
    path = tmp_path / "wiring.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(FormatError, match="nowhere"):
        answer(path)


def test_model_without_operators_is_none(tmp_path: Path) -> None:
    proto = tiny.onnx_proto()
    del proto.graph.node[:]
    path = tmp_path / "none.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(FormatError, match="holds no operators"):
        answer(path)


def test_perturbation_of_a_model_of_integers_changes_its_scales(tmp_path: Path) -> None:
    """Weights as int8 with a DequantizeLinear before each use: only the scales are floating point."""
    from onnx import helper, numpy_helper

    proto = tiny.onnx_proto()
    graph = proto.graph
    weights = next(t for t in graph.initializer if t.name == "classifier.weight")
    values = numpy_helper.to_array(weights)
    scale = np.asarray(np.abs(values).max() / 127, np.float32)
    weights.CopyFrom(numpy_helper.from_array(np.round(values / scale).astype(np.int8), "classifier.weight"))
    graph.initializer.append(numpy_helper.from_array(scale, "scale"))
    graph.node.insert(0, helper.make_node("DequantizeLinear", ["classifier.weight", "scale"], ["head"]))
    next(node for node in graph.node if node.op_type == "Gemm").input[1] = "head"
    path = tmp_path / "integers.onnx"
    path.write_bytes(proto.SerializeToString())

    import onnx

    from convfault.frameworks.onnx_proto import perturbed

    changed = onnx.load(path)
    perturbed(changed, tmp_path, Perturbation())
    before = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in changed.graph.initializer}
    assert after["scale"] != before["scale"]
    np.testing.assert_array_equal(after["classifier.weight"], before["classifier.weight"])
    np.testing.assert_array_equal(after["six"], before["six"])  # a bound, not a weight


def test_sizes_of_a_resize_are_not_perturbed(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper

    scales = numpy_helper.from_array(np.asarray([1, 1, 2, 2], np.float32), "scales")
    graph = helper.make_graph(
        [helper.make_node("Resize", ["picture", "", "scales"], ["bigger"])],
        "resize",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("bigger", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [scales],
    )
    path = tmp_path / "resize.onnx"
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())
    for seed in range(4):
        assert answer(path, Perturbation(seed=seed)).shape == (4, 3, 32, 32)
