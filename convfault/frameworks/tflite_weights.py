"""The constants of a TFLite file, read and changed in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convfault.flatbuffer import gathered, packed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from convfault.frameworks.base import Perturbation

SHAPING = ("POW", "RANGE", "RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL", "PAD", "PADV2")
"""Operators whose floating-point constants are no weights: changing one can change a shape or make a NaN."""


def schema() -> Any:
    """The generated classes of TFLite's flatbuffer schema, which come with the runtime."""
    try:
        from ai_edge_litert import schema_py_generated
    except ModuleNotFoundError:
        from tensorflow.lite.python import schema_py_generated
    return schema_py_generated


def perturbed(content: bytes, perturbation: Perturbation) -> bytes:
    """A copy of the file with perturbed weights: floating-point constants, and the scales of quantized ones.

    float16 constants that are only stored so, and widened by a DEQUANTIZE before use, are widened beforehand:
    float16 cannot hold a change as small as float32's rounding error.
    """
    widened = bytearray(_widened(content))
    flat = schema()
    model = flat.Model.GetRootAs(widened, 0)
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        kept = _shaping_constants(model, graph, flat)
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            values = _constant(widened, model, tensor)
            if values is None or index in kept:
                continue
            _perturb(tensor, values, perturbation, number * 1_000_003 + index, flat)
    return bytes(widened)


def _perturb(tensor: Any, values: npt.NDArray[np.uint8], perturbation: Perturbation, index: int, flat: Any) -> None:
    import numpy as np

    floating = {flat.TensorType.FLOAT32: np.float32, flat.TensorType.FLOAT16: np.float16}.get(tensor.Type())
    if floating is not None:
        numbers = values.view(floating)
        if numbers.size == 1:  # bounds, exponents and factors of sizes are no weights
            return
        numbers[:] = perturbation.apply(numbers, index)
        return
    names = ("INT8", "UINT8", "INT16", "INT4", "UINT4", "INT2")
    small = {getattr(flat.TensorType, name, None) for name in names}  # a schema of an older release has fewer
    quantization = tensor.Quantization()
    # The scale of an int32 bias is the product of two others and is not used in kernels: it stays.
    if tensor.Type() in small and quantization is not None and quantization.ScaleLength() > 0:
        scales = quantization.ScaleAsNumpy()
        scales[:] = perturbation.apply(scales, index)


def _constant(content: bytearray, model: Any, tensor: Any) -> npt.NDArray[np.uint8] | None:
    """A writable view of a constant's bytes; None for tensors that are computed."""
    import numpy as np

    buffer = model.Buffers(tensor.Buffer())
    if buffer.DataLength() > 0:
        return np.asarray(buffer.DataAsNumpy())
    if buffer.Offset() > 1:  # files beyond 2 GiB keep their data behind the flatbuffer
        return np.frombuffer(content, np.uint8, buffer.Size(), buffer.Offset())
    return None


def _shaping_constants(model: Any, graph: Any, flat: Any) -> set[int]:
    codes = {getattr(flat.BuiltinOperator, name) for name in SHAPING}
    found: set[int] = set()
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        if _code(model.OperatorCodes(operator.OpcodeIndex())) in codes:
            found.update(int(index) for index in operator.InputsAsNumpy())
    return found


def _code(operator_code: Any) -> int:
    # Files from before 2020 have the operator in the deprecated field only.
    return max(int(operator_code.BuiltinCode()), int(operator_code.DeprecatedBuiltinCode()))


def _widened(content: bytes) -> bytes:
    """The file with every DEQUANTIZE of a float16 constant carried out; the same bytes when there is none."""
    flat = schema()
    root = flat.Model.GetRootAs(content, 0)
    kinds = {root.Subgraphs(g).Tensors(t).Type() for g in range(root.SubgraphsLength()) for t in _tensors(root, g)}
    if flat.TensorType.FLOAT16 not in kinds:
        return content
    model = flat.ModelT.InitFromObj(flat.Model.GetRootAs(gathered(content, flat), 0))
    for graph in model.subgraphs:
        graph.operators = [operator for operator in graph.operators if not _widen(model, graph, operator, flat)]
    return packed(model)


def _widen(model: Any, graph: Any, operator: Any, flat: Any) -> bool:
    """Carry out one operator if it widens a float16 constant: its output becomes a constant, and True returns."""
    import numpy as np

    code = model.operatorCodes[operator.opcodeIndex]
    if max(code.builtinCode, code.deprecatedBuiltinCode) != flat.BuiltinOperator.DEQUANTIZE:
        return False
    source = graph.tensors[operator.inputs[0]]
    data = model.buffers[source.buffer].data
    if source.type != flat.TensorType.FLOAT16 or data is None or len(data) == 0:
        return False
    buffer = flat.BufferT()
    buffer.data = np.asarray(data, np.uint8).view(np.float16).astype(np.float32).view(np.uint8)
    graph.tensors[operator.outputs[0]].buffer = len(model.buffers)
    model.buffers.append(buffer)
    return True


def _tensors(model: Any, graph: int) -> range:
    return range(model.Subgraphs(graph).TensorsLength())


def valueless(content: bytes) -> list[str]:
    """Names of the tensors that operators of the main graph read, but that nothing gives a value to.

    The runtime takes them for inputs and computes with whatever is in memory: a file that lost its weights.
    """
    flat = schema()
    model = flat.Model.GetRootAs(bytearray(content), 0)
    graph = model.Subgraphs(0)
    known = {int(index) for index in graph.InputsAsNumpy()}
    found = []
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        for index in (int(index) for index in operator.InputsAsNumpy() if index >= 0 and int(index) not in known):
            known.add(index)
            tensor = graph.Tensors(index)
            filled = model.Buffers(tensor.Buffer()).DataLength() > 0 or model.Buffers(tensor.Buffer()).Offset() > 1
            empty = tensor.ShapeLength() > 0 and 0 in tensor.ShapeAsNumpy()
            if not (filled or empty or tensor.IsVariable()):
                found.append(tensor.Name().decode(errors="replace"))
        known.update(int(index) for index in operator.OutputsAsNumpy())
    return found


def custom_operators(content: bytes) -> list[str]:
    """Names of the operators in the file that are not TFLite's builtin ones."""
    flat = schema()
    model = flat.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    custom = [code.CustomCode() for code in codes if _code(code) == flat.BuiltinOperator.CUSTOM]
    return sorted({name.decode(errors="replace") for name in custom if name})
