from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfault.errors import FormatError, TrustError
from convfault.frameworks.tensorflow import TENSORFLOW
from convfault.model import Model
from tests import tiny


def saved(folder: Path, function: Any, trusted: bool = False) -> Model:
    """A SavedModel of one function on a float32 vector."""
    import tensorflow as tf

    module = tf.Module()
    module.run = tf.function(function, input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
    tf.saved_model.save(module, folder / "saved", signatures=module.run)
    return Model.from_path(str(folder / "saved"), trusted=trusted)


def frozen(folder: Path, function: Any, trusted: bool = False) -> Model:
    """A GraphDef file of one function on a float32 vector."""
    import tensorflow as tf

    concrete = tf.function(function).get_concrete_function(tf.TensorSpec((None, 3), tf.float32, name="x"))
    path = folder / "graph.pb"
    path.write_bytes(concrete.graph.as_graph_def().SerializeToString())
    return Model.from_path(str(path), trusted=trusted)


def writing(path: Path) -> Any:
    import tensorflow as tf

    def function(x: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(path), "written")]):
            return tf.identity(x) * 2.0

    return function


def test_saved_model_answers_like_its_signature(tiny_saved_model: Path) -> None:
    import tensorflow as tf

    loaded = tf.saved_model.load(tiny_saved_model)  # must outlive its signature
    expected = loaded.signatures["serving_default"](tf.constant(tiny.pictures(3)))["output_0"]
    with TENSORFLOW.open(Model.from_path(str(tiny_saved_model))) as session:
        np.testing.assert_allclose(session.run({"picture:0": tiny.pictures(3)}).output(), expected, atol=1e-6)


def test_inner_tensors_are_those_of_a_graph_session(tiny_frozen_graph: Path) -> None:
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        definition = tf.compat.v1.GraphDef.FromString(tiny_frozen_graph.read_bytes())
        tf.import_graph_def(definition, name="")
    with TENSORFLOW.open(Model.from_path(str(tiny_frozen_graph))) as session:
        names = [spec.name for spec in session.tensors()]
        trace = session.run({"picture:0": tiny.pictures(3)}, names)
    assert len(names) > 10
    with tf.compat.v1.Session(graph=graph) as native:
        values = native.run(names, {"picture:0": tiny.pictures(3)})
    for name, value in zip(names, values, strict=True):
        np.testing.assert_allclose(trace.tensors[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("save", [saved, frozen])
def test_operator_that_writes_a_file_needs_trust(tmp_path: Path, save: Any) -> None:
    target = tmp_path / "target"
    with pytest.raises(TrustError, match=r"WriteFile.*--trust"):
        TENSORFLOW.open(save(tmp_path, writing(target)))
    assert not target.exists()
    shutil.rmtree(tmp_path / "saved", ignore_errors=True)
    with TENSORFLOW.open(save(tmp_path, writing(target), trusted=True)) as session:
        session.run({session.signature.inputs[0].name: np.ones((1, 3), np.float32)})
    assert target.read_text() == "written"


def test_operator_that_reads_a_file_needs_trust(tmp_path: Path) -> None:
    import tensorflow as tf

    (tmp_path / "secret").write_text("abc")

    def reading(x: Any) -> Any:
        return x + tf.cast(tf.strings.length(tf.io.read_file(str(tmp_path / "secret"))), tf.float32)

    with pytest.raises(TrustError, match="ReadFile"):
        TENSORFLOW.open(saved(tmp_path, reading))


@pytest.mark.parametrize("kind", ["py_function", "numpy_function"])
def test_python_in_a_graph_needs_trust(tmp_path: Path, kind: str) -> None:
    import tensorflow as tf

    def python(x: Any) -> Any:
        return tf.ensure_shape(getattr(tf, kind)(lambda value: value, [x], tf.float32), (None, 3))

    with pytest.raises(TrustError, match="PyFunc"):
        TENSORFLOW.open(saved(tmp_path, python))


def test_file_operator_inside_of_a_branch_needs_trust(tmp_path: Path) -> None:
    import tensorflow as tf

    def branching(x: Any) -> Any:
        return tf.cond(tf.reduce_sum(x) > 0, lambda: writing(tmp_path / "target")(x), lambda: x)

    with pytest.raises(TrustError, match="WriteFile"):
        TENSORFLOW.open(saved(tmp_path, branching))


def test_saving_operator_that_a_run_can_reach_needs_trust(tmp_path: Path, tiny_saved_model: Path) -> None:
    import tensorflow as tf

    def checkpointing(x: Any) -> Any:
        save = tf.raw_ops.SaveV2(prefix=str(tmp_path / "c"), tensor_names=["a"], shape_and_slices=[""], tensors=[x])
        with tf.control_dependencies([save] if save is not None else []):
            return tf.identity(x)

    with pytest.raises(TrustError, match="SaveV2"):
        TENSORFLOW.open(saved(tmp_path, checkpointing))
    TENSORFLOW.signature(Model.from_path(str(tiny_saved_model)))  # which carries SaveV2 for its own saving


def test_harmless_control_flow_and_random_numbers_run(tmp_path: Path) -> None:
    import tensorflow as tf

    def branching(x: Any) -> Any:
        return tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2.0, lambda: x) + tf.random.uniform(()) * 0.0

    with TENSORFLOW.open(saved(tmp_path, branching)) as session:
        assert session.run({"x:0": np.ones((2, 3), np.float32)}).output().tolist() == [[2.0] * 3] * 2


def test_operator_that_tensorflow_lacks_is_named(tmp_path: Path) -> None:
    import tensorflow as tf

    model = frozen(tmp_path, lambda x: tf.nn.relu(x) + 1.0)
    graph = tf.compat.v1.GraphDef.FromString(Path(model.path).read_bytes())
    next(node for node in graph.node if node.op == "Relu").op = "MyCompanyRelu"
    Path(model.path).write_bytes(graph.SerializeToString())
    with pytest.raises(FormatError, match="MyCompanyRelu"):
        TENSORFLOW.open(model)


def test_only_signature_is_taken_and_several_are_asked_about(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.run = tf.function(lambda x: x * 2.0, input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
    tf.saved_model.save(module, tmp_path / "one", signatures={"mine": module.run})
    tf.saved_model.save(module, tmp_path / "two", signatures={"mine": module.run, "yours": module.run})
    tf.saved_model.save(tf.Module(), tmp_path / "none")
    assert TENSORFLOW.signature(Model.from_path(str(tmp_path / "one"))).inputs[0].name.endswith(":0")
    with pytest.raises(FormatError, match="mine, yours"):
        TENSORFLOW.signature(Model.from_path(str(tmp_path / "two")))
    with pytest.raises(FormatError, match="none"):
        TENSORFLOW.signature(Model.from_path(str(tmp_path / "none")))


def test_saved_model_without_its_variables_is_one_sentence(tmp_path: Path, tiny_saved_model: Path) -> None:
    shutil.copytree(tiny_saved_model, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "variables")
    with pytest.raises(FormatError, match="copy"):
        TENSORFLOW.signature(Model.from_path(str(tmp_path / "copy")))


@pytest.mark.parametrize("content", [b"", b"nonsense", bytes(range(256)) * 20])
def test_damaged_saved_model_is_one_sentence(tmp_path: Path, tiny_saved_model: Path, content: bytes) -> None:
    shutil.copytree(tiny_saved_model, tmp_path / "copy")
    (tmp_path / "copy" / "saved_model.pb").write_bytes(content)
    with pytest.raises(FormatError, match="copy"):
        TENSORFLOW.signature(Model.from_path(str(tmp_path / "copy")))


def test_graph_without_inputs_is_not_a_frozen_graph(tmp_path: Path) -> None:
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    graph.node.add(name="a", op="NoOp")
    (tmp_path / "graph.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(FormatError, match="0 inputs"):
        TENSORFLOW.signature(Model.from_path(str(tmp_path / "graph.pb")))
