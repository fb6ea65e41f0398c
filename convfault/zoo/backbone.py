"""The weights of a backbone from a seed: the same bits whatever framework, initialiser or machine.

Kernels are He-normal (He et al., ICCV 2015). On top of that every output channel has a gain of its own, and the
normalisations' scales and offsets are drawn around 1 and 0, so that the statistics measured afterwards are lively: a
converter that loses or swaps one of them changes the model's answers, as it would with trained weights. The last
normalisation of a residual branch is drawn smaller (as in SkipInit, De and Smith, NeurIPS 2020), which keeps the
pictures' differences alive through a deep stack of random layers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

CHANNEL_GAIN = (0.6, 1.6)
SCALE = (0.7, 1.3)
BIAS = (-0.1, 0.1)


@dataclass(frozen=True)
class Backbone:
    """Draws weights by layer name. ``residual`` matches the layers that end a residual branch."""

    seed: int
    residual: str
    residual_gain: float
    smoothness: float
    offsets: tuple[float, float]

    @classmethod
    def of(cls, description: Mapping[str, Any], maker: str) -> Backbone:
        """From a ``model.toml``; ``maker`` is ``torch`` or ``keras``."""
        backbone = description["backbone"]
        return cls(
            backbone["seed"],
            description[maker]["residual"],
            backbone["residual_gain"],
            backbone["smoothness"],
            tuple(backbone["offsets"]),
        )

    def kernel(
        self, layer: str, shape: tuple[int, ...], spatial: tuple[int, int], channels_axis: int, fan_in: int
    ) -> Floats:
        """Kernel of a convolution: height and width on the axes ``spatial``, output channels on ``channels_axis``."""
        import numpy as np

        values = self._generator(layer, "kernel").standard_normal(shape)
        flat = tuple(1 if axis in spatial else side for axis, side in enumerate(shape))
        if flat != shape:
            even = self._generator(layer, "even").standard_normal(flat)
            values = values * (1 - self.smoothness**2) ** 0.5 + even * self.smoothness
        values *= (2 / fan_in) ** 0.5
        gains = _uniform(self._generator(layer, "gain"), shape[channels_axis], CHANNEL_GAIN)
        along = [1] * len(shape)
        along[channels_axis] = -1
        return np.asarray(values * gains.reshape(along), np.float32)

    def bias(self, layer: str, count: int) -> Floats:
        """Bias of a convolution."""
        return _uniform(self._generator(layer, "bias"), count, BIAS).astype("float32")

    def scale(self, layer: str, count: int) -> Floats:
        """Scale (gamma) of a normalisation."""
        gain = self.residual_gain if self.residual and re.fullmatch(self.residual, layer) else 1.0
        return (_uniform(self._generator(layer, "scale"), count, SCALE) * gain).astype("float32")

    def offset(self, layer: str, count: int) -> Floats:
        """Offset (beta) of a normalisation."""
        gain = self.residual_gain if self.residual and re.fullmatch(self.residual, layer) else 1.0
        return (_uniform(self._generator(layer, "offset"), count, self.offsets) * gain).astype("float32")

    def _generator(self, layer: str, part: str) -> np.random.RandomState:
        import numpy as np

        digest = hashlib.sha256(f"{self.seed}/{layer}/{part}".encode()).digest()
        return np.random.RandomState(np.frombuffer(digest[:16], "<u4").tolist())


def _uniform(generator: np.random.RandomState, count: int, span: tuple[float, float]) -> npt.NDArray[np.float64]:
    return span[0] + (span[1] - span[0]) * generator.random_sample(count)
