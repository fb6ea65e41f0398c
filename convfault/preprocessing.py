"""What turns a picture into a model's input tensor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convfault.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
CHANNELS = ("rgb", "bgr", "gray")
LAYOUTS = ("NHWC", "NCHW")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_numbers(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_is_number, value))


def _is_size(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(side, int) and side > 0 for side in value)


TYPES: dict[str, Callable[[object], bool]] = {
    "size": _is_size,
    "resize": lambda value: value is None or (isinstance(value, int) and value > 0),
    "scale": _is_number,
    "mean": _are_numbers,
    "std": _are_numbers,
}
"""What each setting must look like, whoever wrote it."""


@dataclass(frozen=True)
class Preprocessing:
    """Picture → tensor: resize, centre crop, order the channels, then ``(pixel * scale - mean) / std``.

    ``size`` is (height, width) of the tensor. ``resize``: None stretches the picture to ``size``; a number is the
    length of the shorter side before a centre crop to ``size`` (torchvision's way). ``mean`` and ``std`` are in the
    order of ``channels``, after scaling; pixels are 0..255. ``assumed`` names what was guessed rather than told.
    """

    size: tuple[int, int] = (224, 224)
    resize: int | None = None
    interpolation: str = "bilinear"
    channels: str = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    layout: str = "NHWC"
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, check in TYPES.items():
            if not check(getattr(self, name)):
                raise UsageError(f"preprocessing: {name} cannot be {getattr(self, name)!r}")
        for name, known in (("interpolation", INTERPOLATIONS), ("channels", CHANNELS), ("layout", LAYOUTS)):
            if getattr(self, name) not in known:
                raise UsageError(f"preprocessing: {name} is '{getattr(self, name)}', not one of {', '.join(known)}")
        if self.resize is not None and self.resize < max(self.size):
            raise UsageError(f"preprocessing: resize {self.resize} is smaller than the crop {self.size}")
        if 0.0 in self.std:
            raise UsageError("preprocessing: std holds a zero")
        if len(self.mean) not in {1, self.depth} or len(self.std) not in {1, self.depth}:
            raise UsageError(f"preprocessing: mean and std need 1 or {self.depth} values for {self.channels}")

    @property
    def depth(self) -> int:
        """Number of channels."""
        return 1 if self.channels == "gray" else 3

    @property
    def geometry(self) -> dict[str, Any]:
        """What decides the decoded pixels: two preprocessings with equal geometry share decoded pictures."""
        return {"size": self.size, "resize": self.resize, "interpolation": self.interpolation, "gray": self.depth == 1}

    def pixels(self, picture: Image.Image) -> npt.NDArray[np.uint8]:
        """The picture resized and cropped: uint8 (height, width, channels) in RGB order, or one channel if gray."""
        import numpy as np
        from PIL import Image

        picture = picture.convert("L" if self.depth == 1 else "RGB")
        height, width = self.size
        filter_ = Image.Resampling[self.interpolation.upper()]
        if self.resize is None:
            picture = picture if picture.size == (width, height) else picture.resize((width, height), filter_)
        else:
            factor = self.resize / min(picture.size)
            sides = tuple(self.resize if s == min(picture.size) else int(s * factor) for s in picture.size)
            picture = picture.resize((sides[0], sides[1]), filter_)
            left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
            picture = picture.crop((left, top, left + width, top + height))
        return np.asarray(picture, dtype=np.uint8).reshape(height, width, self.depth)

    def tensor(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Batch of pixels, uint8 (N, H, W, C) in RGB order → float32 model input in ``layout``."""
        import numpy as np

        if pixels.ndim != 4 or pixels.shape[-1] != self.depth:
            raise DataError(f"pictures of shape {pixels.shape} are not (N, H, W, {self.depth})")
        if self.channels == "bgr":
            pixels = pixels[..., ::-1]
        scale = np.float32(self.scale) / np.asarray(self.std, np.float32)
        shift = np.asarray(self.mean, np.float32) / np.asarray(self.std, np.float32)
        values = np.multiply(pixels, scale, dtype=np.float32)
        if np.any(shift):
            values -= shift
        return np.ascontiguousarray(values if self.layout == "NHWC" else values.transpose(0, 3, 1, 2))

    def with_layout(self, layout: str) -> Preprocessing:
        """The same picture in another memory layout."""
        return replace(self, layout=layout)

    def to_record(self) -> dict[str, Any]:
        """JSON form; ``from_record`` reads it back."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any], base: Preprocessing | None = None) -> Preprocessing:
        """From JSON or TOML values; what is absent comes from ``base``. Unknown keys raise ``UsageError``."""
        known = {field.name for field in fields(cls)}
        for name in record:
            if name not in known:
                raise UsageError(f"preprocessing: unknown setting '{name}'; known: {', '.join(sorted(known))}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
        if isinstance(values.get("size"), int):
            values["size"] = (values["size"], values["size"])
        return replace(base or cls(), **values)

    @classmethod
    def from_toml(cls, path: Path, base: Preprocessing | None = None) -> Preprocessing:
        """From the table ``[preprocessing]`` of a TOML file (or from its top level when there is none)."""
        import tomllib

        try:
            values = tomllib.loads(path.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"cannot read the preprocessing in {path}: {error}") from error
        return cls.from_record(values.get("preprocessing", values), base)

    def to_toml(self) -> str:
        """The text of a side file, which ``from_toml`` reads back."""
        values = {name: value for name, value in asdict(self).items() if value is not None and name != "assumed"}
        return "[preprocessing]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())

    @classmethod
    def for_input(cls, shape: tuple[int | None, ...], layout: str | None = None) -> Preprocessing:
        """What can be read from an input's shape; the rest is assumed (pixels scaled to 0..1) and said so."""
        if len(shape) != 4:
            raise UsageError(f"the model's input is {shape}, not pictures: give an .npz of model inputs as --data")
        if layout is None:
            layout = "NCHW" if shape[1] in {1, 3} and shape[-1] not in {1, 3} else "NHWC"
        height, width, depth = (shape[2], shape[3], shape[1]) if layout == "NCHW" else shape[1:4]
        assumed = ["scale 1/255, no mean"]
        if height is None or width is None:
            assumed.append("size 224x224")
        if depth not in {1, 3}:
            raise UsageError(
                f"the model's input has {depth} channels in {layout}: give an .npz of model inputs as --data"
            )
        return cls(
            size=(height or 224, width or 224),
            channels="gray" if depth == 1 else "rgb",
            scale=1 / 255,
            mean=(0.0,) * (depth or 3),
            std=(1.0,) * (depth or 3),
            layout=layout,
            assumed=tuple(assumed),
        )
