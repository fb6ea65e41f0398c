"""The seam to a framework: an adapter opens a model and gives a session that runs it.

Adapters import their framework inside functions only, so that convfault starts without any of them. They work in
processes of their own (``convfault.frameworks.execute``), because a damaged file can kill a native library.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from types import TracebackType
from typing import TYPE_CHECKING, Any

from convfault.errors import FormatError, MissingPackageError, ShapeError, UnknownNameError
from convfault.model import Model, Signature, TensorSpec
from convfault.trace import Trace

if TYPE_CHECKING:
    import numpy.typing as npt

    Tensors = Mapping[str, npt.NDArray[Any]]


ROUNDOFFS: Mapping[str, int] = {"float16": 2**11, "bfloat16": 2**14}
"""How much more a model that computes in a coarser type is perturbed: a quarter of what the roundoff grows by, since
kernels for such types still sum in float32."""


@dataclass(frozen=True)
class Perturbation:
    """Multiply every floating-point weight by ``1 + relative * z``, z from a seeded standard normal.

    With ``relative`` about the rounding error of a dot product this is a harmless change: by backward error
    analysis (Higham, Accuracy and Stability of Numerical Algorithms, 3.1; Higham and Mary 2019 for the
    probabilistic bound) every other order of summation equals the exact result for weights so perturbed.
    """

    relative: float = 2.0**-19
    seed: int = 0

    def apply(self, weights: npt.NDArray[Any], index: int, precision: str = "float32") -> npt.NDArray[Any]:
        """The perturbed copy of weight number ``index``; integer arrays come back as they are.

        ``relative`` is for a model that computes in float32, and grows with the roundoff of another ``precision``.
        """
        import numpy as np

        if not np.issubdtype(weights.dtype, np.floating):
            return weights
        generator = np.random.default_rng((self.seed, index))
        relative = np.float32(self.relative * ROUNDOFFS.get(precision, 1))
        noise = generator.standard_normal(weights.shape, dtype=np.float32) * relative
        if weights.dtype.itemsize >= 4 or precision == weights.dtype.name:
            return np.asarray(weights * (1 + noise), dtype=weights.dtype)
        # float16 cannot hold the noise, and rounding to nearest would lose all of it: round at random, which keeps
        # its mean (a few weights move by one step).
        step = np.spacing(np.abs(weights)).astype(np.float32)
        moved = generator.random(weights.shape, dtype=np.float32) < np.abs(weights * noise) / step
        return np.asarray(weights + np.where(moved, np.copysign(step, noise), 0), dtype=weights.dtype)


class Session(ABC):
    """An opened model. Values in and out are real numbers: an integer input of a quantized model is fed by scale."""

    signature: Signature

    def run(self, inputs: Tensors, capture: Sequence[str] = ()) -> Trace:
        """Run one batch of any size: native input name → array in the framework's layout.

        The trace holds the outputs, in order, then the captured tensors, all with the batch first.
        ``capture`` takes names that ``tensors()`` gives. A model whose batch size is fixed runs in pieces of that
        size, the last one filled up with copies of its last row, which are dropped again; so does one that says to take
        any and takes one at a time, which is then in ``signature``.
        """
        self._check(inputs, capture)
        fixed, count = self.signature.inputs[0].shape[:1], len(next(iter(inputs.values())))
        if count > 1 and fixed and fixed[0] is None:
            return self._run_open(inputs, capture, count)
        if not fixed or fixed[0] is None or fixed[0] == count:
            return self.run_batch(inputs, capture)
        return joined([self._run_piece(inputs, capture, start, fixed[0]) for start in range(0, count, fixed[0])])

    def _check(self, inputs: Tensors, capture: Sequence[str]) -> None:
        wanted = [spec.name for spec in self.signature.inputs]
        if set(inputs) != set(wanted):
            raise ShapeError(f"the model's inputs are {', '.join(wanted)} but the data gives {', '.join(inputs)}")
        if capture:
            known = [spec.name for spec in (*self.tensors(), *self.signature.outputs)]
            for name in set(capture).difference(known):
                raise UnknownNameError("tensor", name, known)

    def _run_open(self, inputs: Tensors, capture: Sequence[str], count: int) -> Trace:
        """Run a model that says to take any batch; exported with a batch of one, many hold it in a reshape."""
        failure: Exception | None = None
        try:
            trace = self.run_batch(inputs, capture)
            if all(len(trace.tensors[name]) == count for name in trace.outputs if trace.tensors[name].ndim):
                return trace
        except Exception as error:
            failure = error
        try:
            pieces = [self._run_piece(inputs, capture, start, 1) for start in range(count)]
        except Exception:
            if failure is None:
                return trace
            raise failure from None
        alone = tuple(replace(spec, shape=(1, *spec.shape[1:])) for spec in self.signature.inputs)
        self.signature = replace(self.signature, inputs=alone)
        return joined(pieces)

    def _run_piece(self, inputs: Tensors, capture: Sequence[str], start: int, size: int) -> Trace:
        import numpy as np

        piece = {name: values[start : start + size] for name, values in inputs.items()}
        count = len(next(iter(piece.values())))
        if count < size:
            piece = {name: np.concatenate([v, np.repeat(v[-1:], size - count, axis=0)]) for name, v in piece.items()}
        trace = self.run_batch(piece, capture)
        return replace(trace, tensors={name: values[:count] for name, values in trace.tensors.items()})

    @abstractmethod
    def run_batch(self, inputs: Tensors, capture: Sequence[str] = ()) -> Trace:
        """What ``run`` does, for a batch of a size that the model takes."""

    def tensors(self) -> tuple[TensorSpec, ...]:
        """The inner tensors that can be captured, in execution order, by native name."""
        return ()

    def close(self) -> None:  # noqa: B027 -- not every session holds something
        """Release the native object."""

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Framework(ABC):
    """The adapter of one framework.

    ``name`` is the framework's, ``package`` the distribution whose version counts, ``extra`` the one of convfault's
    extras that installs it, ``layout`` that of its picture tensors, ``batch_size`` the fastest on a CPU.
    """

    name: str
    package: str
    extra: str
    layout: str
    batch_size: int = 8

    def signature(self, model: Model) -> Signature:
        """Inputs and outputs of the model; raises ``FormatError`` when it cannot be read."""
        with self.open(model) as session:
            return session.signature

    @abstractmethod
    def open(self, model: Model, perturbation: Perturbation | None = None) -> Session:
        """Open the model for running, its weights perturbed if asked for."""

    def version(self) -> str:
        """The installed version; raises ``MissingPackageError``."""
        try:
            return _version(self.package)
        except metadata.PackageNotFoundError:
            raise missing(self.package, self.extra) from None

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Translate the failure of an import, of a package that is absent or that is there but broken."""
        try:
            yield
        except Exception as error:  # a broken installation raises anything: OSError, AttributeError, RuntimeError
            if isinstance(error, ModuleNotFoundError):
                raise missing(str(error.name).partition(".")[0], self.extra) from error
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise MissingPackageError(
                f"{self.package} is installed but cannot be imported ({reason.strip()[:300]}): "
                f'pip install --force-reinstall "convfault[{self.extra}]"'
            ) from error

    def trace(self, outputs: Tensors, captured: Tensors) -> Trace:
        """The trace of one batch: the outputs in order, then what was captured, as C-contiguous arrays."""
        import numpy as np

        tensors = {name: np.ascontiguousarray(values) for name, values in {**outputs, **captured}.items()}
        return Trace(tensors, tuple(outputs), self.name, self.version(), self.layout)


@cache
def _version(package: str) -> str:
    return metadata.version(package)


def joined(traces: Sequence[Trace]) -> Trace:
    """The traces of successive batches as one."""
    import numpy as np

    if len(traces) == 1:
        return traces[0]
    names = traces[0].tensors
    return replace(traces[0], tensors={name: np.concatenate([t.tensors[name] for t in traces]) for name in names})


def missing(package: str, extra: str) -> MissingPackageError:
    """The error that says how to install a package."""
    return MissingPackageError(f'{package} is not installed: pip install "convfault[{extra}]"')


@contextmanager
def reading(model: Model) -> Iterator[None]:
    """Translate whatever a framework raises over a file that it cannot read."""
    from convfault.errors import ConvfaultError

    try:
        yield
    except ConvfaultError:
        raise
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise FormatError(
            f"{model.path} cannot be read as {model.format} by {model.framework}: {reason.strip()[:300]}; "
            "is it complete, and made for this version?"
        ) from error


def threads() -> int:
    """How many threads a runtime shall use: ``$CONVFAULT_THREADS``, else every core this process may use."""
    return int(os.environ.get("CONVFAULT_THREADS") or len(os.sched_getaffinity(0)))
