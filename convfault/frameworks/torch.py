"""PyTorch: exported programs (``.pt2``) and modules that a function of the user's builds (``module:function``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from convfault.frameworks.base import Framework, Perturbation, Session, joined, reading, threads
from convfault.frameworks.torch_scales import perturb_scales
from convfault.model import Model, Signature, TensorSpec
from convfault.native import torch_archive, torch_function
from convfault.native.torch_names import node_names
from convfault.native.torchvision_operators import ensure
from convfault.trace import Trace

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[Any]]


class Torch(Framework):
    """PyTorch on the CPU, in inference mode and channels-last memory; tensors are NCHW.

    Tensor names are module paths (``features.0.0``) where a tensor is what a module returns, else node names.
    The signature of a function's module is inferred unless the model carries it.
    """

    name = "torch"
    package = "torch"
    extra = "torch"
    layout = "NCHW"
    batch_size = 8

    def open(self, model: Model, perturbation: Perturbation | None = None) -> Session:
        """Load the program, or call the function and put its module into eval mode."""
        with self.importing():
            import torch
        torch.set_num_threads(threads())
        ensure()
        if model.format == "torch_function":
            module = torch_function.load(model)
            return ModuleSession(self, _prepared(module, perturbation), model)
        with reading(model):
            return ProgramSession(self, torch_archive.load(model), perturbation)


class TorchSession(Session):
    """What both kinds share: arrays in, tensors through the module, arrays out."""

    def __init__(self, framework: Torch, module: Any) -> None:
        self._framework, self._module = framework, module

    def run_batch(self, inputs: Arrays, capture: Sequence[str] = ()) -> Trace:
        """Run the module; inputs of rank 4 are laid out channels-last in memory, which is about twice as fast."""
        import torch

        feeds = [_tensor(inputs[spec.name], spec.dtype) for spec in self.signature.inputs]
        with torch.inference_mode():
            results, captured = self._call(feeds, capture)
        names = [spec.name for spec in self.signature.outputs]
        outputs = {name: _array(value) for name, value in zip(names, _flat(results), strict=True)}
        return self._framework.trace(outputs, {name: _array(captured[name]) for name in capture})

    def _call(self, feeds: list[Any], capture: Sequence[str]) -> tuple[Any, dict[str, Any]]:
        raise NotImplementedError

    def close(self) -> None:
        """Release the module."""
        self._module = None


class ProgramSession(TorchSession):
    """An exported program; captured by interpreting its graph node by node."""

    def __init__(self, framework: Torch, program: Any, perturbation: Perturbation | None) -> None:
        super().__init__(framework, _prepared(program.module(), perturbation))
        if perturbation is not None:
            perturb_scales(self._module.graph, perturbation)
            self._module.recompile()
        self._names = node_names(program.graph)
        user = set(program.graph_signature.user_inputs)
        inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in user]
        nodes = {node.name: node for node in program.graph.nodes}
        outputs = [nodes[name] for name in program.graph_signature.user_outputs if name in nodes]
        self.signature = Signature(
            tuple(_spec(node.name, node.meta["val"]) for node in inputs),
            tuple(_spec(self._names.get(node.name, node.name), node.meta["val"]) for node in outputs),
        )
        self._nodes = [node for node in program.graph.nodes if node.op == "call_function"]
        self._smallest, self._largest = _batch_bounds(program, inputs[0].meta["val"])

    @cached_property
    def _inner(self) -> tuple[TensorSpec, ...]:
        batch = self.signature.inputs[0].shape[:1]
        values = [(self._names[node.name], node.meta.get("val")) for node in self._nodes]
        specs = [_spec(name, value) for name, value in values if hasattr(value, "shape") and value.ndim > 0]
        return tuple(spec for spec in specs if spec.shape[:1] == batch)

    def tensors(self) -> tuple[TensorSpec, ...]:
        """The value of every node that has one row a picture."""
        return self._inner

    def run_batch(self, inputs: Arrays, capture: Sequence[str] = ()) -> Trace:
        """Run the program; a batch beyond what it was exported for goes in pieces, a smaller one is filled up."""
        import numpy as np

        count = len(next(iter(inputs.values())))
        if self._largest is not None and count > self._largest:
            cuts = range(0, count, self._largest)
            pieces = [{name: v[cut : cut + self._largest] for name, v in inputs.items()} for cut in cuts]
            return joined([self.run_batch(piece, capture) for piece in pieces])
        if count >= self._smallest:
            return super().run_batch(inputs, capture)
        lacking = self._smallest - count
        full = {name: np.concatenate([v, np.repeat(v[-1:], lacking, axis=0)]) for name, v in inputs.items()}
        trace = super().run_batch(full, capture)
        return replace(trace, tensors={name: values[:count] for name, values in trace.tensors.items()})

    def _call(self, feeds: list[Any], capture: Sequence[str]) -> tuple[Any, dict[str, Any]]:
        import torch

        if not capture:
            return self._module(*feeds), {}
        names, wanted, captured = self._names, set(capture), {}

        class Recorder(torch.fx.Interpreter):  # type: ignore[misc]
            def run_node(self, node: Any) -> Any:
                value = super().run_node(node)
                if names.get(node.name) in wanted:
                    captured[names[node.name]] = value.clone()  # a later node may change it in place
                return value

        return Recorder(self._module).run(*feeds), captured


class ModuleSession(TorchSession):
    """A module as the user's function built it; captured by hooks on its leaves."""

    def __init__(self, framework: Torch, module: Any, model: Model) -> None:
        super().__init__(framework, module)
        inputs = model.signature.inputs if model.signature else torch_function.inferred_inputs(model, module)
        self.signature = Signature(inputs, ())
        try:
            results, noted = self._call(self._example(), None)
            outputs = torch_function.output_specs(results, inputs)
        except Exception:  # the module's own, over a size that was only guessed: a run with real inputs will tell
            noted, outputs = {}, (TensorSpec("output", (None, None), "float32"),)
        self._inner = torch_function.inner_specs(noted, inputs)
        self.signature = model.signature or Signature(inputs, outputs)

    def _example(self) -> list[Any]:
        import torch

        return [torch_function.example(spec).to(getattr(torch, spec.dtype)) for spec in self.signature.inputs]

    def tensors(self) -> tuple[TensorSpec, ...]:
        """What each leaf module returns, in the order in which they run; a module that runs again gets ``@1``."""
        return self._inner

    def _call(self, feeds: list[Any], capture: Sequence[str] | None) -> tuple[Any, dict[str, Any]]:
        """``capture`` None notes every leaf's value."""
        import torch

        captured: dict[str, Any] = {}
        runs: dict[str, int] = {}
        hooks = []
        if capture is None or capture:
            wanted = None if capture is None else set(capture)
            for path, leaf in torch_function.leaves(self._module):
                hooks.append(leaf.register_forward_hook(_noting(path, captured, runs, wanted)))
        try:
            with torch.inference_mode():
                return self._module(*feeds), captured
        finally:
            for hook in hooks:
                hook.remove()


def _noting(path: str, captured: dict[str, Any], runs: dict[str, int], wanted: set[str] | None) -> Callable[..., None]:
    def note(module: Any, arguments: Any, result: Any) -> None:
        again = runs[path] = runs.get(path, -1) + 1
        name = f"{path}@{again}" if again else path
        if hasattr(result, "shape") and (wanted is None or name in wanted):
            captured[name] = result.clone()

    return note


def _prepared(module: Any, perturbation: Perturbation | None) -> Any:
    """The module perturbed, its convolutions' weights channels-last in memory."""
    import torch

    tensors = [*module.parameters(), *module.buffers()]
    with torch.no_grad():
        for index, tensor in enumerate(tensors):
            if perturbation is not None and tensor.is_floating_point():
                values = (
                    tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
                )  # numpy has none
                precision = str(tensor.dtype).removeprefix("torch.")
                tensor.copy_(torch.from_numpy(perturbation.apply(values.numpy(), index, precision)))
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return module


def _tensor(values: npt.NDArray[Any], dtype: str) -> Any:
    import numpy as np
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(values)).to(getattr(torch, dtype))
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _array(tensor: Any) -> npt.NDArray[Any]:
    import numpy as np

    return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy())


def _flat(results: Any) -> list[Any]:
    from torch.utils import _pytree

    return [value for value in _pytree.tree_leaves(results) if hasattr(value, "shape")]


def _spec(name: str, value: Any) -> TensorSpec:
    sides = tuple(side if isinstance(side, int) else None for side in value.shape)
    return TensorSpec(name, sides, str(value.dtype).removeprefix("torch."))


def _batch_bounds(program: Any, value: Any) -> tuple[int, int | None]:
    """The smallest and largest batch the program was exported for; None: no limit."""
    if not value.shape or isinstance(value.shape[0], int):
        return 1, None
    found = program.range_constraints.get(value.shape[0].node.expr)
    if found is None:
        return 1, None
    try:
        return int(found.lower), int(found.upper) if found.upper < 1 << 40 else None
    except (OverflowError, TypeError, ValueError):  # infinities
        return 1, None


TORCH = Torch()
