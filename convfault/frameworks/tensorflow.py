"""TensorFlow: SavedModel folders and frozen ``.pb`` graphs, both run as one frozen graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convfault.errors import FormatError
from convfault.frameworks.base import Framework, Perturbation, Session, reading, threads
from convfault.frameworks.tensorflow_operators import check_graph, check_saved_model
from convfault.model import Model, Signature, TensorSpec
from convfault.trace import Trace

if TYPE_CHECKING:
    import numpy.typing as npt

SHAPING = ("Pow", "Range", "LinSpace", "Fill", "PadV2", "MirrorPad", "Multinomial")
"""Operators whose floating-point constants are no weights: changing one can change a shape or make a NaN."""

NEVER_OUTPUT = ("Placeholder", "Const", "NoOp", "Assert", "VarHandleOp")
DEFAULT_SIGNATURE = "serving_default"
PICTURES = 4
"""The rank of an input whose shape the graph does not say."""


class TensorFlow(Framework):
    """TensorFlow on the CPU, NHWC. Tensor names are ``node:0`` of the frozen graph.

    Inputs and outputs are those of the signature ``serving_default`` (or the only one), or of the frozen graph.
    """

    name = "tf"
    package = "tensorflow"
    extra = "tensorflow"
    layout = "NHWC"
    batch_size = 8

    def open(self, model: Model, perturbation: Perturbation | None = None) -> Session:
        """Freeze the model's variables to constants, perturb these if asked for, and make it callable."""
        with self.importing():
            import tensorflow  # noqa: F401 -- so that its absence is said here
        configure_threads()
        with reading(model):
            graph, inputs, outputs = _saved(model) if model.format == "saved_model" else _frozen(model)
            if perturbation is not None:
                _perturb(graph, perturbation)
            return TensorFlowSession(self, graph, inputs, outputs)


class TensorFlowSession(Session):
    """A frozen graph, imported once and pruned for every set of captured tensors."""

    def __init__(self, framework: TensorFlow, graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        import tensorflow as tf

        self._framework = framework
        self._wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
        self._inputs = [self._wrapped.graph.get_tensor_by_name(name) for name in inputs]
        self._outputs = list(dict.fromkeys(outputs))
        self._pruned: dict[tuple[str, ...], Any] = {}
        found = [self._wrapped.graph.get_tensor_by_name(name) for name in self._outputs]
        self.signature = Signature(
            tuple(tensor_spec(tensor.name, tensor) for tensor in self._inputs),
            tuple(tensor_spec(tensor.name, tensor) for tensor in found),
        )
        self._function(())

    def _function(self, capture: tuple[str, ...]) -> Any:
        if capture not in self._pruned:
            fetches = [self._wrapped.graph.get_tensor_by_name(name) for name in (*self._outputs, *capture)]
            self._pruned[capture] = self._wrapped.prune(self._inputs, fetches)
        return self._pruned[capture]

    @cached_property
    def _inner(self) -> tuple[TensorSpec, ...]:
        batch = self.signature.inputs[0].shape[:1]
        reached = {tensor.name for tensor in self._inputs}
        found = []
        for operation in self._wrapped.graph.get_operations():
            if reached.isdisjoint(tensor.name for tensor in operation.inputs):
                continue
            reached.update(tensor.name for tensor in operation.outputs)
            if operation.type != "Identity" or operation.outputs[0].name in self._outputs:
                found += [t for t in operation.outputs if t.shape.rank and (t.dtype.is_floating or t.dtype.is_integer)]
        specs = [tensor_spec(tensor.name, tensor) for tensor in found]
        return tuple(spec for spec in specs if spec.shape[:1] == batch)

    def tensors(self) -> tuple[TensorSpec, ...]:
        """Every tensor of known rank that depends on the inputs and has one row a picture."""
        return self._inner

    def run_batch(self, inputs: Mapping[str, npt.NDArray[Any]], capture: Sequence[str] = ()) -> Trace:
        """Run the graph pruned to the outputs and what is captured."""
        import tensorflow as tf

        feeds = [tf.constant(inputs[tensor.name], tensor.dtype) for tensor in self._inputs]
        values = [value.numpy() for value in self._function(tuple(capture))(*feeds)]
        outputs = dict(zip(self._outputs, values, strict=False))
        return self._framework.trace(outputs, dict(zip(capture, values[len(self._outputs) :], strict=True)))

    def close(self) -> None:
        """Release the graph."""
        self._wrapped, self._pruned = None, {}


def configure_threads() -> None:
    """Give TensorFlow the threads convfault may use; too late once it has run something, which tests do."""
    import tensorflow as tf

    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads())


def tensor_spec(name: str, tensor: Any) -> TensorSpec:
    """Name, shape and dtype of a symbolic tensor; one of unknown rank is taken for a batch of pictures."""
    shape = (None,) * PICTURES if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return TensorSpec(name, shape, str(tensor.dtype.as_numpy_dtype.__name__))


def _saved(model: Model) -> tuple[Any, list[str], list[str]]:
    """The frozen GraphDef of a SavedModel, and the names of its input and output tensors."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((Path(model.path) / "saved_model.pb").read_bytes())
    if not saved.meta_graphs:
        raise FormatError(f"{model.path}/saved_model.pb holds no graph; is it complete?")
    check_saved_model(model, saved)
    loaded = tf.saved_model.load(model.path)
    names = sorted(loaded.signatures)
    if DEFAULT_SIGNATURE not in names and len(names) != 1:
        raise FormatError(
            f"{model.path} has the signatures {', '.join(names) or 'none'} but not '{DEFAULT_SIGNATURE}': "
            "save it again with that one"
        )
    function = loaded.signatures[DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in names else names[0]]
    frozen = convert_variables_to_constants_v2(function)
    inputs = [tensor.name for tensor in frozen.inputs if tensor.dtype != tf.resource]
    return frozen.graph.as_graph_def(), inputs, [tensor.name for tensor in frozen.outputs]


def _frozen(model: Model) -> tuple[Any, list[str], list[str]]:
    """A GraphDef from its file, its placeholders, and the outputs of the nodes that nobody reads."""
    import tensorflow as tf
    from tensorflow.python.framework import op_def_registry

    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(Path(model.path).read_bytes())
    check_graph(model, graph)
    read = {reference.removeprefix("^").partition(":")[0] for node in graph.node for reference in node.input}
    inputs = [f"{node.name}:0" for node in graph.node if node.op == "Placeholder"]
    last = [node for node in graph.node if node.name not in read and node.op not in NEVER_OUTPUT]
    outputs = [
        f"{node.name}:{index}"
        for node in last
        for index in range(len(getattr(op_def_registry.get(node.op), "output_arg", [None])))
    ]
    if not inputs or not outputs:
        raise FormatError(f"{model.path} is not a frozen graph: it has {len(inputs)} inputs and {len(outputs)} outputs")
    return graph, inputs, outputs


def _perturb(graph: Any, perturbation: Perturbation) -> None:
    """Change the floating-point Const nodes of a GraphDef in place; single numbers are bounds and factors, and stay."""
    import tensorflow as tf

    precision = _precision(graph)
    kept = {reference.partition(":")[0] for node in _nodes(graph) if node.op in SHAPING for reference in node.input}
    for index, node in enumerate(_nodes(graph)):
        if node.op != "Const" or node.name in kept or not tf.as_dtype(node.attr["dtype"].type).is_floating:
            continue
        values = tf.make_ndarray(node.attr["value"].tensor)
        changed = perturbation.apply(values, index, precision) if values.size > 1 else values
        if changed is not values:
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(changed))


def _precision(graph: Any) -> str:
    """The coarsest type that an operator computes in."""
    import tensorflow as tf

    types = {node.attr["T"].type for node in _nodes(graph) if "T" in node.attr and node.op != "Identity"}
    for kind in (tf.bfloat16, tf.float16):
        if kind.as_datatype_enum in types:
            return str(kind.name)
    return "float32"


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


TENSORFLOW = TensorFlow()
