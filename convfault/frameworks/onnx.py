"""ONNX: ``.onnx`` files, with external data or without, run by onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convfault.errors import FormatError
from convfault.frameworks.base import Framework, Perturbation, Session, reading, threads
from convfault.frameworks.onnx_proto import check_external_data, check_operators, observable, perturbed
from convfault.frameworks.onnx_scales import Scale, scales
from convfault.model import Model, Signature, TensorSpec
from convfault.trace import Trace

if TYPE_CHECKING:
    import numpy.typing as npt

DTYPES = {"float": "float32", "double": "float64"}
"""onnxruntime's names of types that are not numpy's."""


class Onnx(Framework):
    """onnxruntime's CPU provider, NCHW. Tensor names are the graph's value names.

    Symbolic and unknown sides of inputs and outputs are None. Inner integers that stand for real numbers are given as
    these, and half precision as float32.
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
        self._fed = {value.name: _numpy_type(value) for value in self._native.get_inputs()}

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

    @cached_property
    def _scales(self) -> dict[str, Scale]:
        """What inner integers stand for."""
        return scales(self._proto, self._folder)

    def tensors(self) -> tuple[TensorSpec, ...]:
        """Every value with one row a picture, as far as its shape is known."""
        batch = self.signature.inputs[0].shape[:1]
        specs = [_spec(value) for value in self._observing.get_outputs() if value.type.startswith("tensor(")]
        order = {name: index for index, name in enumerate(_written(self._proto))}
        inner = [self._real(s) for s in specs if s.name in order and s.shape and s.shape[:1] == batch]
        return tuple(sorted(inner, key=lambda spec: order[spec.name]))

    def run_batch(self, inputs: Mapping[str, npt.NDArray[Any]], capture: Sequence[str] = ()) -> Trace:
        """Run; captured values come from a session that fuses nothing, in the same run as the outputs."""
        import numpy as np

        feeds = {name: np.ascontiguousarray(inputs[name], dtype=dtype) for name, dtype in self._fed.items()}
        outputs = [spec.name for spec in self.signature.outputs]
        native = self._observing if capture else self._native
        found = zip([*outputs, *capture], native.run([*outputs, *capture], feeds), strict=True)
        values = {name: self._real_values(name, value, name in outputs) for name, value in found}
        return self._framework.trace({name: values[name] for name in outputs}, {name: values[name] for name in capture})

    def _real_values(self, name: str, values: Any, output: bool) -> Any:
        if not output and name in self._scales:
            return self._scales[name].real(values)
        half = str(getattr(values, "dtype", "")) == "float16"
        return values.astype("float32") if half else values

    def _real(self, spec: TensorSpec) -> TensorSpec:
        inner = spec.name in self._scales and spec.name not in {output.name for output in self.signature.outputs}
        return replace(spec, dtype="float32") if inner else spec

    def close(self) -> None:
        """Release both sessions and the weights."""
        self._native = None
        self.__dict__.pop("_observing", None)
        self._replaced = {}


def _numpy_type(value: Any) -> str:
    """The type of a value in the file, as numpy calls it."""
    inner = str(value.type).removeprefix("tensor(").removesuffix(")")
    return DTYPES.get(inner, inner)


def _spec(value: Any) -> TensorSpec:
    sides = tuple(side if isinstance(side, int) else None for side in value.shape)
    dtype = _numpy_type(value)
    return TensorSpec(value.name, sides, "float32" if dtype == "float16" else dtype)


def _written(proto: Any) -> list[str]:
    return [name for node in proto.graph.node for name in node.output if name]


ONNX = Onnx()
