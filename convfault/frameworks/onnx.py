"""ONNX: ``.onnx`` files, with external data or without, run by onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convfault.errors import FormatError
from convfault.frameworks.base import Framework, Perturbation, Session, reading, threads
from convfault.frameworks.onnx_proto import check_external_data, check_operators, observable, perturbed
from convfault.model import Model, Signature, TensorSpec
from convfault.trace import Trace

if TYPE_CHECKING:
    import numpy.typing as npt

DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(bool)": "bool"}
"""onnxruntime's names of types that are not numpy's between the parentheses."""


class Onnx(Framework):
    """onnxruntime's CPU provider, NCHW. Tensor names are the graph's value names.

    Symbolic and unknown sides of inputs and outputs are None.
    """

    name = "onnx"
    package = "onnxruntime"
    extra = "onnx"
    layout = "NCHW"
    batch_size = 4

    def open(self, model: Model, perturbation: Perturbation | None = None) -> Session:
        """Open the file; nothing outside its folder is read, and no operator of another library is run."""
        with self.importing():
            import onnx
            import onnxruntime  # noqa: F401 -- so that its absence is said here
        with reading(model):
            proto = onnx.load(model.path, load_external_data=False)
            if not proto.graph.node or not proto.graph.output:
                raise FormatError(f"{model.path} is not an ONNX model: it holds no operators; is it complete?")
            check_external_data(proto, Path(model.path))
            check_operators(proto, Path(model.path))
            return OnnxSession(self, model, proto, perturbation)


class OnnxSession(Session):
    """A session for running, and one whose every value is an output, made when something is captured."""

    def __init__(self, framework: Onnx, model: Model, proto: Any, perturbation: Perturbation | None) -> None:
        self._framework, self._folder = framework, Path(model.path).parent
        self._replaced = perturbed(proto, self._folder, perturbation) if perturbation is not None else {}
        self._proto = proto
        self._native = self._opened(proto.SerializeToString() if perturbation is not None else model.path)
        self.signature = Signature(
            tuple(_spec(value) for value in self._native.get_inputs()),
            tuple(_spec(value) for value in self._native.get_outputs()),
        )

    def _opened(self, content: bytes | str, optimize: bool = True) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 4  # errors come as exceptions too
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(self._folder))
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if self._replaced:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in self._replaced.values()]
            options.add_external_initializers(list(self._replaced), values)
            self._kept = values  # onnxruntime does not copy them
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    @cached_property
    def _observing(self) -> Any:
        """Every inner value as an output, nothing fused: what is captured is what the file says, not what was fused."""
        return self._opened(observable(self._proto).SerializeToString(), optimize=False)

    def tensors(self) -> tuple[TensorSpec, ...]:
        """Every value with one row a picture, as far as its shape is known."""
        batch = self.signature.inputs[0].shape[:1]
        specs = [_spec(value) for value in self._observing.get_outputs() if value.type.startswith("tensor(")]
        order = {name: index for index, name in enumerate(_written(self._proto))}
        inner = [spec for spec in specs if spec.name in order and spec.shape and spec.shape[:1] == batch]
        return tuple(sorted(inner, key=lambda spec: order[spec.name]))

    def run_batch(self, inputs: Mapping[str, npt.NDArray[Any]], capture: Sequence[str] = ()) -> Trace:
        """Run; captured values come from a session that fuses nothing, in the same run as the outputs."""
        import numpy as np

        feeds = {spec.name: np.ascontiguousarray(inputs[spec.name], dtype=spec.dtype) for spec in self.signature.inputs}
        outputs = [spec.name for spec in self.signature.outputs]
        native = self._observing if capture else self._native
        values = dict(zip([*outputs, *capture], native.run([*outputs, *capture], feeds), strict=True))
        return self._framework.trace({name: values[name] for name in outputs}, {name: values[name] for name in capture})

    def close(self) -> None:
        """Release both sessions and the weights."""
        self._native = None
        self.__dict__.pop("_observing", None)
        self._replaced = {}


def _spec(value: Any) -> TensorSpec:
    inner = value.type.removeprefix("tensor(").removesuffix(")")
    sides = tuple(side if isinstance(side, int) else None for side in value.shape)
    return TensorSpec(value.name, sides, DTYPES.get(value.type, inner))


def _written(proto: Any) -> list[str]:
    return [name for node in proto.graph.node for name in node.output if name]


ONNX = Onnx()
