"""Formula-driven fractals: any number of pictures and classes from a seed, the same bits on every machine.

After Kataoka et al., "Pre-training without Natural Images" (ACCV 2020), FractalDB: a class is an iterated function
system (IFS), a picture the attractor that the chaos game draws. Maps are drawn by their singular values, as in
Anderson and Farrell, "Improving Fractal Pre-training" (WACV 2022), so that every one contracts. Each map has a colour
of its own, hence shape and colours tell the class, and swapped colour channels change the answer.

All randomness is ``RandomState.random_sample`` (a stream that numpy keeps), all arithmetic is element by element in
float64 without transcendental functions, all sums are of integers: nothing depends on the order of a reduction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    Floats = npt.NDArray[np.float64]

TRAINING, HELD_OUT = 0, 1
"""The streams: pictures that models are calibrated on, and those that users get."""

CLASS_STREAM = 2
GRID = 32


@dataclass(frozen=True)
class System:
    """An IFS: ``maps`` is (n, 6) with x' = a x + b y + e, y' = c x + d y + f as (a, b, c, d, e, f).

    ``thresholds`` are the n - 1 cumulated probabilities of the maps; ``hues``, ``saturations`` and ``values`` (0..1)
    the colour of each map.
    """

    maps: Floats
    thresholds: tuple[float, ...]
    hues: tuple[float, ...]
    saturations: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Fractals:
    """The pictures that a ``dataset.toml`` describes."""

    description: Mapping[str, Any]

    @property
    def classes(self) -> int:
        return int(self.description["classes"])

    @property
    def size(self) -> int:
        """Height and width of a picture in pixels."""
        return int(self.description["generator"]["size"])

    @cached_property
    def _systems(self) -> dict[int, System]:
        return {}

    def system(self, label: int) -> System:
        """The IFS of class ``label``: the first one drawn from its seed whose attractor is neither dust nor a blot."""
        if label not in self._systems:
            lowest, highest = self.description["generator"]["fill"]
            attempt = 0
            while True:
                system = self._draw(label, attempt)
                if lowest <= self._fill(system) <= highest:
                    break
                attempt += 1
            self._systems[label] = system
        return self._systems[label]

    def _draw(self, label: int, attempt: int) -> System:
        import numpy as np

        generator = np.random.RandomState([self.description["seed"], label, CLASS_STREAM, attempt])
        settings, colours = self.description["generator"], self.description["colours"]
        count = generator.randint(settings["maps"][0], settings["maps"][1] + 1)
        low, high = settings["singular"]
        rows = []
        for _ in range(count):
            first = low + (high - low) * generator.random_sample()
            second = low + (first - low) * generator.random_sample()
            left, right = _rotation(_between(generator, -1, 1)), _rotation(_between(generator, -1, 1))
            flip = 1.0 if generator.random_sample() < 0.7 else -1.0
            shift = [_between(generator, -1, 1) for _ in range(2)]
            rows.append([*_product(left, first, second * flip, right), *shift])
        maps = np.array(rows)
        base = (label * 0.6180339887498949) % 1.0  # golden ratio: any number of classes stays spread over the hues
        return System(
            maps,
            _thresholds(maps),
            tuple((base + _between(generator, -colours["spread"], colours["spread"])) % 1.0 for _ in range(count)),
            tuple(_between(generator, *colours["saturation"]) for _ in range(count)),
            tuple(_between(generator, *colours["value"]) for _ in range(count)),
        )

    def _fill(self, system: System) -> float:
        """Share of a coarse grid over the attractor's bounding box that it touches."""
        import numpy as np

        generator = np.random.RandomState([self.description["seed"], CLASS_STREAM])
        x, y, _ = _orbit(system.maps, system.thresholds, generator, 512, 12, 12)
        columns, rows = (((v - v.min()) * (GRID / (v.max() - v.min() + 1e-9))).astype(np.int64) for v in (x, y))
        return len(np.unique(np.minimum(rows, GRID - 1) * GRID + np.minimum(columns, GRID - 1))) / GRID**2

    def render(self, label: int, number: int, stream: int = HELD_OUT, seed: int = 0) -> Image.Image:
        """Picture ``number`` of class ``label``: RGB, ``size`` x ``size``."""
        import numpy as np
        from PIL import Image

        system = self.system(label)
        generator = np.random.RandomState([self.description["seed"], label, stream, seed, number])
        amounts = self._amounts(generator)
        maps = system.maps * (1 + amounts["parameters"] * (2 * generator.random_sample(system.maps.shape) - 1))
        settings = self.description["generator"]
        x, y, chosen = _orbit(
            maps, system.thresholds, generator, settings["particles"], settings["warm_up"], settings["steps"]
        )
        cells, inside = _placed(x, y, self._pose(generator, amounts), self.size)
        counts = np.bincount((chosen * self.size**2 + cells)[inside], minlength=len(maps) * self.size**2)
        counts = _splat(counts.reshape(len(maps), self.size, self.size))
        picture = _paint(
            counts, _colours(system, generator, amounts), self._background(generator, amounts), settings["density"]
        )
        return Image.fromarray(picture)

    def _amounts(self, generator: np.random.RandomState) -> dict[str, float]:
        """How strongly each kind of variation acts on this picture: between its easy and its hard amplitude."""
        variation = self.description["variation"]
        draw = difficulty = generator.random_sample()
        for _ in range(variation["difficulty_power"] - 1):
            difficulty *= draw
        spans = {name: span for name, span in variation.items() if name != "difficulty_power"}
        return {name: span["easy"] + (span["hard"] - span["easy"]) * difficulty for name, span in spans.items()}

    def _pose(self, generator: np.random.RandomState, amounts: Mapping[str, float]) -> Floats:
        """Matrix (2, 3) from the attractor's frame (-1..1) to the picture's (0..1, rows down)."""
        import numpy as np

        cosine, sine = _rotation(_between(generator, -amounts["turn"], amounts["turn"]) / 2)
        size = 0.42 * (1 - amounts["scale"] * generator.random_sample())
        mirror = 1.0 if generator.random_sample() < 0.5 else -1.0
        right, down = (0.5 + _between(generator, -amounts["shift"], amounts["shift"]) for _ in range(2))
        return np.array([[size * cosine * mirror, -size * sine, right], [size * sine * mirror, size * cosine, down]])

    def _background(self, generator: np.random.RandomState, amounts: Mapping[str, float]) -> Floats:
        """A gradient between four random colours at the corners: (size, size, 3), 0..1."""
        import numpy as np

        corners = generator.random_sample((2, 2, 3)) * amounts["background"]
        ramp = np.arange(self.size) / (self.size - 1)
        down, right = ramp[:, None, None], ramp[None, :, None]
        top = corners[0, 0] * (1 - right) + corners[0, 1] * right
        bottom = corners[1, 0] * (1 - right) + corners[1, 1] * right
        return np.asarray(top * (1 - down) + bottom * down)


def _between(generator: np.random.RandomState, low: float, high: float) -> float:
    return float(low + (high - low) * generator.random_sample())


def _rotation(half_tangent: float) -> tuple[float, float]:
    """Cosine and sine of the angle whose half has this tangent; rational, so exact rules apply."""
    square = half_tangent * half_tangent
    return (1 - square) / (1 + square), 2 * half_tangent / (1 + square)


def _product(left: tuple[float, float], first: float, second: float, right: tuple[float, float]) -> tuple[float, ...]:
    """The matrix rotation(left) * diagonal(first, second) * rotation(right) as (a, b, c, d)."""
    (c, s), (p, q) = left, right
    return (
        c * first * p - s * second * q,
        -c * first * q - s * second * p,
        s * first * p + c * second * q,
        -s * first * q + c * second * p,
    )


def _thresholds(maps: Floats) -> tuple[float, ...]:
    """Cumulated probabilities, proportional to each map's area, as FractalDB has it."""
    areas = [max(abs(a * d - b * c), 0.02) for a, b, c, d, _, _ in maps.tolist()]
    found, total = [], 0.0
    for area in areas[:-1]:
        total += area
        found.append(total)
    whole = total + areas[-1]
    return tuple(value / whole for value in found)


def _orbit(
    maps: Floats,
    thresholds: tuple[float, ...],
    generator: np.random.RandomState,
    particles: int,
    warm_up: int,
    steps: int,
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """The chaos game with many particles at once: x, y and the map that led there, of all points after the warm-up."""
    import numpy as np

    draws = generator.random_sample((warm_up + steps, particles))
    chosen = np.zeros(draws.shape, np.int64)
    for threshold in thresholds:
        chosen += draws > threshold
    x, y = np.zeros(particles), np.zeros(particles)
    columns = np.ascontiguousarray(maps.T)
    xs, ys = np.empty((steps, particles)), np.empty((steps, particles))
    for step in range(warm_up + steps):
        a, b, c, d, e, f = columns[:, chosen[step]]
        x, y = a * x + b * y + e, c * x + d * y + f
        if step >= warm_up:
            xs[step - warm_up], ys[step - warm_up] = x, y
    return xs.ravel(), ys.ravel(), chosen[warm_up:].ravel()


def _placed(x: Floats, y: Floats, pose: Floats, size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The pixel (row * size + column) of every point, and whether it lies in the picture."""
    import numpy as np

    half = max(float(x.max() - x.min()), float(y.max() - y.min()), 1e-9) / 2
    across = (x - (x.max() + x.min()) / 2) / half
    along = (y - (y.max() + y.min()) / 2) / half
    columns = np.floor((pose[0, 0] * across + pose[0, 1] * along + pose[0, 2]) * size).astype(np.int64)
    rows = np.floor((pose[1, 0] * across + pose[1, 1] * along + pose[1, 2]) * size).astype(np.int64)
    inside = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    return rows * size + columns, inside


def _splat(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Every point spread over two by two pixels, which closes the pin-holes between points."""
    wide = counts.copy()
    wide[:, :, 1:] += counts[:, :, :-1]
    tall = wide.copy()
    tall[:, 1:] += wide[:, :-1]
    return tall


def _colours(system: System, generator: np.random.RandomState, amounts: Mapping[str, float]) -> Floats:
    """The colour of each map in this picture: (n, 3), 0..1."""
    import numpy as np

    turn = _between(generator, -amounts["hue"], amounts["hue"])
    brightness = 1 - amounts["brightness"] * generator.random_sample()
    triples = zip(system.hues, system.saturations, system.values, strict=True)
    return np.array([_rgb((hue + turn) % 1.0, saturation, value * brightness) for hue, saturation, value in triples])


def _rgb(hue: float, saturation: float, value: float) -> tuple[float, ...]:
    """HSV → RGB, all 0..1."""
    return tuple(
        value * (1 - saturation * max(0.0, min(k, 4 - k, 1.0))) for k in ((n + hue * 6) % 6 for n in (5, 3, 1))
    )


def _paint(counts: npt.NDArray[np.int64], colours: Floats, background: Floats, density: float) -> npt.NDArray[np.uint8]:
    """The maps' colours, mixed by their points and laid over the background: uint8 (size, size, 3)."""
    import numpy as np

    values = background.reshape(-1, 3).copy()
    layers = counts.reshape(len(counts), -1)
    covered = np.flatnonzero(layers.any(axis=0))  # most of a picture is background
    layers = layers[:, covered]
    total = layers.sum(axis=0)  # of integers
    cover = (total / (total + density * 4))[:, None]
    mixed = np.zeros((len(covered), 3))
    for layer, colour in zip(layers, colours, strict=True):
        mixed += layer[:, None] * colour
    mixed /= total[:, None]
    values[covered] = values[covered] * (1 - cover) + mixed * cover
    return np.floor(values * 255 + 0.5).astype(np.uint8).reshape(background.shape)
