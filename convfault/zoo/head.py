"""A classifier's last layer in closed form: ridge regression on pooled features.

The penalty and the temperature are chosen by the leave-one-out error, which ridge regression gives without fitting
again (Golub, Heath and Wahba, Technometrics 1979: residual / (1 - leverage)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(14))
TEMPERATURES = tuple(2.0 ** (exponent / 2) for exponent in range(0, 15))


@dataclass(frozen=True)
class Head:
    """logits = features @ ``kernel`` + ``bias``; kernel float32 (features, classes).

    ``accuracy`` is the share of training pictures that a head fitted without them gets right.
    """

    kernel: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    penalty: float
    temperature: float
    accuracy: float


def fit(features: npt.NDArray[Any], labels: npt.NDArray[Any], classes: int) -> Head:
    """Fit to features (N, F) and class ids (N,)."""
    import numpy as np

    values = features.astype(np.float64)
    mean, spread = values.mean(axis=0), values.std(axis=0) + 1e-6
    values = (values - mean) / spread
    wanted = np.eye(classes)[labels]
    centre = wanted.mean(axis=0)
    left, singular, right = np.linalg.svd(values, full_matrices=False)
    projected = left.T @ (wanted - centre)
    trials = [(_left_out(left, singular, projected, wanted, centre, penalty), penalty) for penalty in PENALTIES]
    answers, penalty = min(trials, key=lambda trial: float(((trial[0] - wanted) ** 2).sum()))
    temperature = min(TEMPERATURES, key=lambda t: _surprise(answers * t, labels))
    kernel = right.T @ ((singular / (singular**2 + penalty))[:, None] * projected) * temperature
    kernel /= spread[:, None]
    bias = centre * temperature - mean @ kernel
    accuracy = float((answers.argmax(axis=1) == labels).mean())
    return Head(kernel.astype(np.float32), bias.astype(np.float32), penalty, temperature, accuracy)


def _left_out(
    left: Floats, singular: Floats, projected: Floats, wanted: Floats, centre: Floats, penalty: float
) -> Floats:
    """What a head fitted without each picture would answer for it: (N, classes)."""
    shrunk = singular**2 / (singular**2 + penalty)
    answers = left @ (shrunk[:, None] * projected) + centre
    leverage = (left**2 * shrunk).sum(axis=1) + 1 / len(left)
    left_out: Floats = wanted - (wanted - answers) / (1 - leverage).clip(1e-6)[:, None]
    return left_out


def _surprise(logits: Floats, labels: npt.NDArray[Any]) -> float:
    """Mean cross-entropy."""
    import numpy as np

    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(labels)), labels]
    return float((np.log(np.exp(shifted).sum(axis=1)) - chosen).mean())
