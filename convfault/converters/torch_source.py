"""Opens a torch model for a converter: an exported program, or the module that a function returns."""

from __future__ import annotations

from typing import Any

from convfault.errors import UsageError
from convfault.model import Model


def exported_program(model: Model) -> Any:
    """The ``torch.export.ExportedProgram``, with the batch dynamic where the model allows it.

    Raises ``TrustError`` when reading it would execute something and the model is not trusted.
    """
    from convfault.native import torch_archive
    from convfault.native.torchvision_operators import ensure

    ensure()
    if model.format == "torch_function":
        return export(module(model), example(model))
    return torch_archive.load(model)


def module(model: Model) -> Any:
    """The ``nn.Module`` that ``module:function`` returns, in evaluation mode, its weights loaded."""
    from convfault.native import torch_function
    from convfault.native.torchvision_operators import ensure

    ensure()
    return torch_function.load(model)


def example(model: Model) -> tuple[Any, ...]:
    """Random inputs, float32, two pictures; sizes that the signature leaves open come from the preprocessing."""
    import torch

    generator = torch.Generator().manual_seed(0)
    picture = (model.preprocessing.depth, *model.preprocessing.size) if model.preprocessing else ()
    shapes = [spec.shape[1:] for spec in model.signature.inputs] if model.signature else [picture or (None,)]
    found = []
    for shape in shapes:
        sides = picture if None in shape and len(shape) == len(picture) else shape
        if None in sides:
            raise UsageError(f"the input size of {model.path} is not known: say it, e.g. --preprocess 'size = 224'")
        found.append(torch.randn([2, *(int(side or 1) for side in sides)], generator=generator))
    return tuple(found)


def export(built: Any, inputs: tuple[Any, ...]) -> Any:
    """``torch.export`` with a dynamic batch; where the model fixes the batch, with that of one picture."""
    import torch

    batch = torch.export.Dim("batch")
    try:
        return torch.export.export(built, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
    except Exception as error:  # whatever the reason is, a fixed batch is the answer
        print(f"dynamic batch is not possible, exporting with a batch of one: {error}")
        return torch.export.export(built, tuple(tensor[:1] for tensor in inputs))


def has_dynamic_batch(program: Any) -> bool:
    """Whether the first side of the program's first input is free."""
    names = set(program.graph_signature.user_inputs)
    shapes = [node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    return bool(shapes) and not isinstance(shapes[0][0], int)


def example_of(program: Any, batch: int = 2) -> tuple[Any, ...]:
    """Random inputs of the shapes and types that an exported program was traced with; ``batch`` where that is free."""
    import torch

    generator = torch.Generator().manual_seed(0)
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    found = []
    for name in program.graph_signature.user_inputs:
        shape = [side if isinstance(side, int) else batch for side in values[name].shape]
        found.append(torch.randn(shape, generator=generator).to(values[name].dtype))
    return tuple(found)
