"""Keras on TensorFlow: ``.keras`` and ``.h5`` files, those of Keras 2 opened by ``tf_keras``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from convfault.errors import FormatError
from convfault.frameworks.base import Framework, Perturbation, Session, missing, reading
from convfault.frameworks.tensorflow import configure_threads, tensor_spec
from convfault.model import Model, Signature, TensorSpec
from convfault.native import keras_files
from convfault.native.keras_layers import recording
from convfault.trace import Trace

if TYPE_CHECKING:
    import numpy.typing as npt


class Keras(Framework):
    """Keras on TensorFlow, NHWC. Tensor names are layer names; ``outer/inner`` for a layer inside of a model.

    Inputs and outputs have the names of the ``Input`` and output layers.
    """

    name = "keras"
    package = "keras"
    extra = "keras"
    layout = "NHWC"
    batch_size = 8

    def open(self, model: Model, perturbation: Perturbation | None = None) -> Session:
        """Load the model without its optimizer; raises ``TrustError`` if it would execute code of its own."""
        with self.importing():
            import keras  # noqa: F401 -- so that its absence is said here
        configure_threads()
        with reading(model):
            network = self._load(model, perturbation)
            if not getattr(network, "inputs", None):
                raise FormatError(f"{model.path} does not say its inputs: save a functional or built Sequential model")
            return KerasSession(self, network)

    def _load(self, model: Model, perturbation: Perturbation | None) -> Any:
        try:
            return keras_files.load(model, perturbation.apply if perturbation is not None else None)
        except ModuleNotFoundError as error:  # which package the file needs is known only now
            raise missing(str(error.name), self.extra) from error


class KerasSession(Session):
    """A model traced as TensorFlow functions, one for every set of captured layers."""

    def __init__(self, framework: Keras, network: Any) -> None:
        self._framework, self._network = framework, network
        self._functions: dict[tuple[str, ...], Any] = {}
        outputs = unique([keras_files.layer_of(tensor).name for tensor in network.outputs])
        self.signature = Signature(
            tuple(_spec(tensor.name, tensor) for tensor in network.inputs),
            tuple(_spec(name, tensor) for name, tensor in zip(outputs, network.outputs, strict=True)),
        )
        self._function(())

    def _function(self, capture: tuple[str, ...]) -> Any:
        """The traced function that gives the outputs and the captured layers' values."""
        if capture not in self._functions:
            self._functions[capture] = self._traced(lambda recorded: [recorded[name] for name in capture])
        return self._functions[capture]

    def _traced(self, choose: Callable[[dict[str, Any]], list[Any]]) -> Any:
        import tensorflow as tf

        specs = [tf.TensorSpec(spec.shape, spec.dtype, spec.name) for spec in self.signature.inputs]

        def run(*inputs: Any) -> list[Any]:
            with recording(self._network) as recorded:
                outputs = self._network(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
            return [*tf.nest.flatten(outputs), *choose(recorded)]

        return tf.function(run, autograph=False).get_concrete_function(*specs)

    @cached_property
    def _inner(self) -> tuple[TensorSpec, ...]:
        names: list[str] = []

        def choose(recorded: dict[str, Any]) -> list[Any]:
            names.extend(name for name, value in recorded.items() if value.shape.rank)
            return [recorded[name] for name in names]

        tensors = self._traced(choose).outputs[len(self.signature.outputs) :]
        specs = [tensor_spec(name, tensor) for name, tensor in zip(names, tensors, strict=True)]
        return tuple(spec for spec in specs if spec.shape[:1] == self.signature.inputs[0].shape[:1])

    def tensors(self) -> tuple[TensorSpec, ...]:
        """The output of every layer, in the order in which they run."""
        return self._inner

    def run_batch(self, inputs: Mapping[str, npt.NDArray[Any]], capture: Sequence[str] = ()) -> Trace:
        """Run the model in inference mode, as ``predict`` does."""
        import tensorflow as tf

        feeds = [tf.constant(inputs[spec.name], spec.dtype) for spec in self.signature.inputs]
        values = [value.numpy() for value in self._function(tuple(capture))(*feeds)]
        names = [spec.name for spec in self.signature.outputs]
        outputs = dict(zip(names, values, strict=False))
        trace = self._framework.trace(outputs, dict(zip(capture, values[len(names) :], strict=True)))
        return replace(trace, version=keras_files.version(self._network))

    def close(self) -> None:
        """Release the model and its traces."""
        self._network, self._functions = None, {}


def unique(names: Sequence[str]) -> list[str]:
    """The names, those that come again marked ``#1``, ``#2``."""
    return [f"{name}#{index}" if name in names[:index] else name for index, name in enumerate(names)]


def _spec(name: str, tensor: Any) -> TensorSpec:
    import tensorflow as tf

    return TensorSpec(name, tuple(tensor.shape), tf.as_dtype(tensor.dtype).name)


KERAS = Keras()
