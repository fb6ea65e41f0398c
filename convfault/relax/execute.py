"""Builds an imported model for the CPU and runs it in TVM's virtual machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convfault.errors import UnknownNameError, UsageError
from convfault.model import TensorSpec
from convfault.relax.imported import Imported, UnsupportedOperator

Tensors = Mapping[str, npt.NDArray[Any]]


class Executable:
    """An imported model, built anew for each set of captured tensors; the last one is kept.

    ``fast``: send convolutions, poolings and products to ``kernels``; otherwise everything runs as TVM generates it.
    """

    def __init__(self, imported: Imported, fast: bool = True) -> None:
        self.imported = imported
        self.fast = fast
        self._built: tuple[tuple[str, ...], Any] | None = None

    def run(self, inputs: Tensors, capture: Sequence[str] = ()) -> dict[str, npt.NDArray[Any]]:
        """One batch: input name → array, in the native layout, of the module's own batch size.

        ``inputs`` also gives the outputs of unsupported operators, by native tensor name; raises ``UsageError``
        naming the operator when one is missing. Returns the outputs, then the captured tensors, by native name.
        """
        import tvm

        arguments = [self._argument(inputs, spec) for spec in self.imported.inputs]
        for operator in self.imported.unsupported:
            arguments += [self._argument(inputs, spec, operator) for spec in operator.outputs]
        machine = self._machine(tuple(capture))
        results = machine["main"](*(tvm.runtime.tensor(value) for value in arguments))
        names = [*(spec.name for spec in self.imported.outputs), *capture]
        found = [results] if hasattr(results, "numpy") else list(results)
        return {name: value.numpy() for name, value in zip(names, found, strict=True)}

    def capturable(self) -> tuple[TensorSpec, ...]:
        """The inner tensors that ``run`` can capture, in order of computation."""
        bound = {_key(binding.var) for binding in _bindings(self.imported.module)}
        found = []
        for name, expression in self.imported.names.items():
            if _key(expression) in bound and hasattr(expression.ty, "shape"):
                shape = tuple(int(side) for side in expression.ty.shape)
                found.append(TensorSpec(name, shape, str(expression.ty.dtype)))
        return tuple(found)

    def _argument(
        self, inputs: Tensors, spec: TensorSpec, operator: UnsupportedOperator | None = None
    ) -> npt.NDArray[Any]:
        if spec.name in inputs:
            return np.ascontiguousarray(inputs[spec.name], dtype=spec.dtype)
        if operator is None:
            raise UnknownNameError("input", spec.name, inputs)
        raise UsageError(
            f"operator {operator.operator} ('{operator.node}') cannot run in TVM ({operator.reason}): "
            f"give the value of its output '{spec.name}'"
        )

    def _machine(self, capture: tuple[str, ...]) -> Any:
        if self._built is None or self._built[0] != capture:
            self._built = (capture, build(with_outputs(self.imported, capture), self.fast))
        return self._built[1]


def _key(expression: Any) -> int:
    return hash(expression)


def build(module: Any, fast: bool = True) -> Any:
    """A virtual machine for a Relax module, on the CPU."""
    import tvm
    from tvm import relax

    if fast:
        from convfault.relax.legalize import legalization

        module = relax.transform.LegalizeOps(legalization())(relax.transform.DecomposeOpsForInference()(module))
    return relax.VirtualMachine(relax.build(module, target="llvm"), tvm.cpu())


def with_outputs(imported: Imported, capture: Sequence[str]) -> Any:
    """The module with captured tensors returned behind its outputs."""
    from tvm import relax

    if not capture:
        return imported.module
    for name in capture:
        if name not in imported.names:
            raise UnknownNameError("tensor", name, imported.names)
    before = [binding.var for binding in _bindings(imported.module)]
    place = {_key(variable): index for index, variable in enumerate(before)}
    module = relax.transform.ToNonDataflow()(imported.module)  # inside a dataflow block only its outputs can be seen
    function, after = module["main"], [binding.var for binding in _bindings(module)]
    body = function.body.body
    several = len(imported.outputs) > 1
    outputs = [relax.TupleGetItem(body, index) for index in range(len(imported.outputs))] if several else [body]
    expressions = [imported.names[name] for name in capture]
    captured = [after[place[_key(e)]] if _key(e) in place else e for e in expressions]
    types = [*(body.ty.fields if several else [body.ty]), *(expression.ty for expression in captured)]
    sequence = relax.SeqExpr(function.body.blocks, relax.Tuple([*outputs, *captured]))
    changed = relax.Function(function.params, sequence, relax.TupleType(types))
    module["main"] = changed.with_attr("global_symbol", "main")
    return relax.transform.Normalize()(module)


def _bindings(module: Any) -> list[Any]:
    return [binding for block in module["main"].body.blocks for binding in block.bindings]
