"""ONNX → torch by onnx2torch, saved as an exported program (``.pt2``).

onnx2torch returns an ``fx.GraphModule`` in memory. To be a file that runs without onnx2torch it goes through
``torch.export``, which cannot follow values that are read from weights while running (the axes of a Squeeze, a target
shape, the factors of a Resize): such small weights are written into the graph as literals first. And a ``.pt2`` cannot
be read back when names of modules hold the ``/``, ``:`` and ``;`` of TensorFlow's: these become ``_``. Neither changes
a result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from convfault.converters.base import Converter, Option
from convfault.errors import UsageError
from convfault.model import Model

CONVERTER = Converter(
    tool="onnx2torch",
    source="onnx",
    target="torch",
    formats=("onnx",),
    target_format="pt2",
    filename="model.pt2",
    package="onnx2torch",
    convert="convfault.converters.torch_from_onnx:convert",
    extra="torch,onnx",
    companions=("torch", "onnx"),
    options={
        "save_input_names": Option("keep the names of the inputs in forward()", False, kind="flag"),
        "attach_onnx_mapping": Option("note at each module which ONNX node it comes from", False, kind="flag"),
    },
    memory_factor=6.0,
)

LITERAL_SIZE = 64
"""Integer weights of at most this many elements are parameters of operators (axes, shapes), not tables."""
BY_FACTOR = ("Resize", "Upsample")
"""Modules of onnx2torch, by the start of their class' name, whose floating-point weights are factors."""


def convert(source: Model, target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Convert and export; the input keeps its layout, the batch stays free where ``torch.export`` can follow it."""
    from convfault.native.torchvision_operators import ensure

    ensure()
    import onnx
    import onnx2torch
    import torch

    from convfault.converters.torch_source import export, has_dynamic_batch

    inputs, free = _example(source, onnx.load(source.path))
    module = onnx2torch.convert(source.path, **options).eval()
    _plain_names(module)
    _write_literals(module)
    _follow_literals()
    program = export(module, inputs) if free else torch.export.export(module, inputs)
    torch.export.save(program, target)
    lost = free and not has_dynamic_batch(program)
    return {"notes": ["the batch is fixed at one: torch.export could not keep it free"]} if lost else {}


def _example(source: Model, model: Any) -> tuple[tuple[Any, ...], bool]:
    """Random inputs of the graph's shapes, and whether its batch is free."""
    import onnx
    import torch

    weights = {tensor.name for tensor in model.graph.initializer}
    entries = [entry for entry in model.graph.input if entry.name not in weights]
    shapes = [[dim.dim_value or None for dim in entry.type.tensor_type.shape.dim] for entry in entries]
    free = all(shape and shape[0] is None for shape in shapes)
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for entry, shape in zip(entries, shapes, strict=True):
        sides = _sides(shape, source)
        if None in sides:
            raise UsageError(f"the input '{entry.name}' of {source.path} has no fixed size; fix it before converting")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
        values = torch.randn([int(side or 1) for side in sides], generator=generator)
        inputs.append(torch.from_numpy(values.numpy().astype(dtype)))
    return tuple(inputs), free


def _sides(shape: list[int | None], source: Model) -> list[int | None]:
    """The shape with a batch of two where it is free, and a picture's open sizes from the preprocessing."""
    batch, sides = shape[:1], shape[1:]
    picture = source.preprocessing
    if None in sides and len(sides) == 3 and picture is not None:
        height, width = picture.size
        sides = [picture.depth, height, width] if picture.layout == "NCHW" else [height, width, picture.depth]
    return [side or 2 for side in batch] + sides


def _plain_names(module: Any) -> None:
    """Give the modules of an ``fx.GraphModule`` names of letters, digits and ``_``, in place."""
    renamed: dict[str, str] = {}
    for name in list(module._modules):
        plain = re.sub(r"\W", "_", name)
        while plain != name and plain in module._modules:
            plain += "_"
        module._modules[plain] = module._modules.pop(name)
        renamed[name] = plain
    for node in module.graph.nodes:
        if node.op in {"call_module", "get_attr"}:
            top, dot, rest = str(node.target).partition(".")
            node.target = renamed.get(top, top) + dot + rest
    module.recompile()


def _write_literals(module: Any) -> None:
    """Replace the reads of small integer weights and of factors in an ``fx.GraphModule`` by literals, in place."""
    import torch

    for node in list(module.graph.nodes):
        if node.op != "get_attr":
            continue
        value = _attribute(module, str(node.target))
        if not isinstance(value, torch.Tensor) or value.numel() > LITERAL_SIZE:
            continue
        if value.is_floating_point() and not all(_takes_factors(module, user) for user in node.users):
            continue
        with module.graph.inserting_before(node):
            literal = module.graph.call_function(torch.tensor, (value.tolist(),), {"dtype": value.dtype})
        node.replace_all_uses_with(literal)
        module.graph.erase_node(node)
    module.recompile()


def _takes_factors(module: Any, node: Any) -> bool:
    """Whether a node calls a module that reads its small weights as numbers, not as a tensor."""
    if node.op != "call_module":
        return False
    return type(_attribute(module, str(node.target))).__name__.removeprefix("Onnx").startswith(BY_FACTOR)


def _follow_literals() -> None:
    """Let ``torch.export`` compute with literals of more than one element, as Squeeze does when it sorts its axes.

    Its tracers carry the value of a constant tensor along only up to this size; by default that is one element.
    """
    import torch

    for tracer in (torch.fx.experimental.proxy_tensor, torch._subclasses.fake_tensor):
        tracer.CONSTANT_NUMEL_LIMIT = LITERAL_SIZE


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module
