"""TVM as a runtime: any model that imports to Relax, compiled for the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convfault.errors import UsageError
from convfault.frameworks.base import Framework, Perturbation, Session
from convfault.model import Model, Signature, TensorSpec
from convfault.relax.execute import Executable
from convfault.relax.import_model import import_model
from convfault.relax.imported import Imported
from convfault.trace import Trace

if TYPE_CHECKING:
    from convfault.frameworks.base import Tensors


class TvmSession(Session):
    """A model built by TVM for one batch size; tensors keep their native names."""

    def __init__(self, imported: Imported, version: str, fast: bool = True) -> None:
        self.imported = imported
        self.signature = Signature(imported.inputs, imported.outputs)
        self._executable = Executable(imported, fast)
        self._version = version

    def run_batch(self, inputs: Tensors, capture: Sequence[str] = ()) -> Trace:
        results: Mapping[str, Any] = self._executable.run(inputs, capture)
        outputs = tuple(spec.name for spec in self.signature.outputs)
        return Trace(results, outputs, "tvm", self._version, self.imported.layout)

    def tensors(self) -> tuple[TensorSpec, ...]:
        return self._executable.capturable()

    def close(self) -> None:
        del self._executable


class Tvm(Framework):
    """Runs every format that convfault imports to Relax; the picture layout is the native model's own."""

    name, package, extra, layout, batch_size = "tvm", "apache-tvm", "tvm", "NHWC", 1

    def signature(self, model: Model) -> Signature:
        self.version()
        imported = import_model(model)
        return Signature(imported.inputs, imported.outputs)

    def open(self, model: Model, perturbation: Perturbation | None = None) -> Session:
        if perturbation is not None:
            raise UsageError("weights cannot be perturbed in TVM: perturb the native model")
        version = self.version()
        imported = import_model(model)
        if imported.unsupported:
            first = imported.unsupported[0]
            raise UsageError(
                f"{model.path} cannot run in TVM: operator {first.operator} ('{first.node}'): {first.reason}"
                + (f", and {len(imported.unsupported) - 1} more" if len(imported.unsupported) > 1 else "")
            )
        return TvmSession(imported, version)


TVM = Tvm()
