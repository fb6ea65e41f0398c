"""TFLite: ``.tflite`` files, run by LiteRT's interpreter (or TensorFlow's own where LiteRT is not installed)."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convfault.errors import FormatError, InputError, MissingPackageError
from convfault.frameworks.base import Framework, Perturbation, Session, reading, threads
from convfault.frameworks.tflite_weights import custom_operators, perturbed, valueless
from convfault.model import Model, Signature, TensorSpec
from convfault.trace import Trace

if TYPE_CHECKING:
    import numpy.typing as npt

    Details = dict[str, Any]

PROBE = 3
"""A batch size that no model has by chance, used to see whether a graph survives another batch than its own."""


class TFLite(Framework):
    """LiteRT with its XNNPACK kernels, NHWC. Tensor names are the file's; ``#index`` is added to a name used twice.

    A model that cannot be resized keeps its own batch size in its signature, others have None.
    """

    name = "tflite"
    package = "ai-edge-litert"
    extra = "tflite"
    layout = "NHWC"
    batch_size = 4

    def open(self, model: Model, perturbation: Perturbation | None = None) -> Session:
        """Open the file, or a changed copy of it in memory."""
        with self.importing():
            interpreter_class()
        try:
            content = Path(model.path).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {model.path}: {error.strerror}") from error
        with reading(model):
            _refuse_valueless(model, content)
            if perturbation is not None:
                content = perturbed(content, perturbation)
            try:
                return TFLiteSession(self, content)
            except (RuntimeError, ValueError) as error:
                _refuse_custom_operators(model, content, str(error))
                raise

    def version(self) -> str:
        """LiteRT's version, else that of TensorFlow, whose interpreter then runs the file."""
        try:
            return super().version()
        except MissingPackageError as error:
            try:
                return f"tensorflow {metadata.version('tensorflow')}"
            except metadata.PackageNotFoundError:
                raise error from None


class TFLiteSession(Session):
    """An interpreter and the shapes that it is allocated for."""

    def __init__(self, framework: TFLite, content: bytes) -> None:
        self._framework, self._content = framework, content
        self._preserving = False
        self._interpreter = self._opened()
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self._names = _unique_names(self._interpreter)
        self._shapes = [tuple(int(side) for side in detail["shape"]) for detail in self._inputs]
        self._resizable, self._inner = _examined(content)
        self.signature = Signature(
            tuple(self._spec(detail) for detail in self._inputs), tuple(self._spec(detail) for detail in self._outputs)
        )

    def _opened(self) -> Any:
        with warnings.catch_warnings():  # it warns that preserving takes memory, which is why it is done on demand only
            warnings.simplefilter("ignore", UserWarning)
            interpreter = interpreter_class()(
                model_content=self._content,
                num_threads=threads(),
                experimental_preserve_all_tensors=self._preserving,
            )
        interpreter.allocate_tensors()
        return interpreter

    def _allocate(self, shapes: list[tuple[int, ...]]) -> None:
        if shapes == self._shapes:
            return
        for detail, shape in zip(self._inputs, shapes, strict=True):
            self._interpreter.resize_tensor_input(detail["index"], shape)
        self._shapes = []  # what is allocated is unknown while this may fail
        with _telling(self._content, shapes):
            self._interpreter.allocate_tensors()
        self._shapes = shapes

    def _spec(self, detail: Details) -> TensorSpec:
        signature = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
        sides = [None if int(side) < 0 else int(side) for side in signature]
        if sides and self._resizable:
            sides[0] = None
        return TensorSpec(self._names[detail["index"]], tuple(sides), _real_dtype(detail))

    def tensors(self) -> tuple[TensorSpec, ...]:
        """Every operator's output that depends on the inputs and has one row a picture, as real numbers."""
        return tuple(self._spec(detail) for detail in self._inner)

    def run_batch(self, inputs: Mapping[str, npt.NDArray[Any]], capture: Sequence[str] = ()) -> Trace:
        """Quantize the inputs, invoke, and give outputs and captured tensors as real numbers."""
        import numpy as np

        if capture and not self._preserving:
            self._preserving, shapes, self._shapes = True, self._shapes, []
            self._interpreter = self._opened()
            self._allocate(shapes)
        arrays = [np.asarray(inputs[spec.name]) for spec in self.signature.inputs]
        self._allocate([array.shape for array in arrays])
        for detail, array in zip(self._inputs, arrays, strict=True):
            self._interpreter.set_tensor(detail["index"], quantize(array, detail))
        with _telling(self._content, self._shapes):
            self._interpreter.invoke()
        wanted = set(capture)
        captured = {name: self._read(index) for index, name in self._names.items() if name in wanted}
        outputs = {self._names[detail["index"]]: self._read(detail["index"]) for detail in self._outputs}
        return self._framework.trace(outputs, {name: captured[name] for name in capture})

    def _read(self, index: int) -> npt.NDArray[Any]:
        return dequantize(self._interpreter.get_tensor(index), self._interpreter._get_tensor_details(index, 0))

    def close(self) -> None:
        """Release the interpreter and the copy of the file."""
        self._interpreter, self._content = None, b""


def _examined(content: bytes) -> tuple[bool, list[Details]]:
    """Whether the model survives another batch size, and the details of its activations in execution order.

    It survives when every activation follows the batch: a reshape to a fixed batch breaks, or mixes the pictures.
    Looked at without kernels that take over a part of the graph, because those hide the shapes inside of it.
    """
    skeleton = _skeleton(content)
    inputs = skeleton.get_input_details()
    own = [tuple(int(side) for side in detail["shape"]) for detail in inputs]
    inner = _activations(skeleton)
    batched = [detail for detail in inner if _is_batched(detail, own[0][0] if own[0] else 0)]
    if not all(own) or len({shape[0] for shape in own}) != 1:
        return False, batched
    try:
        for detail, shape in zip(inputs, own, strict=True):
            skeleton.resize_tensor_input(detail["index"], (PROBE, *shape[1:]))
        skeleton.allocate_tensors()
    except (RuntimeError, ValueError):
        return False, batched
    follows = all(_is_batched(detail, PROBE) for detail in _activations(skeleton) + skeleton.get_output_details())
    return follows, inner if follows else batched


@contextmanager
def _telling(content: bytes, shapes: list[tuple[int, ...]]) -> Iterator[None]:
    """Where a kernel that takes over a part of the graph fails, let plain ones fail: they say which operator it is."""
    try:
        yield
    except RuntimeError:
        skeleton = _skeleton(content)
        for detail, shape in zip(skeleton.get_input_details(), shapes, strict=True):
            skeleton.resize_tensor_input(detail["index"], shape)
        skeleton.allocate_tensors()
        skeleton.invoke()
        raise


def _skeleton(content: bytes) -> Any:
    interpreter = interpreter_class()
    plain = importlib.import_module(interpreter.__module__).OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    skeleton = interpreter(model_content=content, experimental_op_resolver_type=plain)
    skeleton.allocate_tensors()
    return skeleton


def _activations(interpreter: Any) -> list[Details]:
    """Details of the real-valued tensors that are computed from the inputs, in execution order."""
    reached = {int(detail["index"]) for detail in interpreter.get_input_details()}
    found = []
    for operation in interpreter._get_ops_details():
        if reached.isdisjoint(int(index) for index in operation["inputs"]):
            continue
        for index in (int(index) for index in operation["outputs"] if index >= 0):
            reached.add(index)
            try:
                detail = interpreter._get_tensor_details(index, 0)
            except ValueError:  # temporaries have none
                continue
            if _real_dtype(detail).startswith("float"):  # integers without a scale are shapes and indices
                found.append(detail)
    return found


def interpreter_class() -> Any:
    """LiteRT's ``Interpreter``, else TensorFlow's."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        try:
            from tensorflow.lite.python.interpreter import Interpreter
        except ImportError:
            raise error from None
    return Interpreter


def quantize(values: npt.NDArray[Any], detail: Details) -> npt.NDArray[Any]:
    """Real numbers → what the tensor stores: ``round(value / scale) + zero point``, cut to the integer's range."""
    import numpy as np

    dtype: np.dtype[Any] = np.dtype(detail["dtype"])
    scale, zero_point = _encoding(detail, values.ndim)
    if scale is not None:
        values = np.rint(values / scale) + zero_point
    if np.issubdtype(dtype, np.integer) and not np.issubdtype(values.dtype, np.integer):
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return np.ascontiguousarray(values, dtype=dtype)


def dequantize(values: npt.NDArray[Any], detail: Details) -> npt.NDArray[Any]:
    """What the tensor stores → float32 real numbers; a tensor without a scale comes back as it is."""
    import numpy as np

    scale, zero_point = _encoding(detail, values.ndim)
    if scale is None:
        return values.astype(np.float32) if values.dtype == np.float16 else values
    return np.asarray((values.astype(np.float32) - zero_point) * scale, dtype=np.float32)


def _encoding(detail: Details, rank: int) -> tuple[Any, Any]:
    """Scale and zero point, shaped to broadcast along the quantized axis; (None, None) for plain tensors."""
    parameters = detail["quantization_parameters"]
    scales, zero_points = parameters["scales"], parameters["zero_points"]
    if len(scales) == 0:
        return None, None
    if len(scales) == 1:
        return scales[0], zero_points[0]
    shape = [1] * rank
    shape[parameters["quantized_dimension"]] = len(scales)
    return scales.reshape(shape), zero_points.reshape(shape)


def _real_dtype(detail: Details) -> str:
    import numpy as np

    dtype = np.dtype(detail["dtype"])
    quantized = len(detail["quantization_parameters"]["scales"]) > 0
    return "float32" if quantized or dtype == np.float16 else dtype.name


def _is_batched(detail: Details, batch: int) -> bool:
    return len(detail["shape"]) > 0 and int(detail["shape"][0]) == batch


def _unique_names(interpreter: Any) -> dict[int, str]:
    names: dict[int, str] = {}
    seen: set[str] = set()
    for detail in interpreter.get_tensor_details():
        name, index = str(detail["name"]), int(detail["index"])
        names[index] = f"{name}#{index}" if name in seen else name
        seen.add(names[index])
    return names


def _refuse_valueless(model: Model, content: bytes) -> None:
    if not content.startswith(b"TFL3", 4):
        raise FormatError(f"{model.path} is not a TFLite file: it lacks the mark TFL3")
    names = valueless(content)
    if names:
        raise FormatError(f"{model.path} holds no values for the tensor '{names[0]}'; is it complete?")


def _refuse_custom_operators(model: Model, content: bytes, reason: str) -> None:
    """Say which operators the runtime lacks, when that is why it failed."""
    if "custom op" not in reason and "Select TensorFlow op" not in reason:
        return
    names = custom_operators(content)
    raise FormatError(
        f"{model.path} needs the operator{'s' if len(names) > 1 else ''} {', '.join(names)}, which the TFLite runtime "
        "does not have: convert it with TFLite's builtin operators only"
    )


TFLITE = TFLite()
