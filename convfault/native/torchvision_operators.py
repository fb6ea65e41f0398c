"""Lets torchvision be imported where its compiled operators cannot be loaded.

PyPI's wheel of torchvision is linked against CUDA torch. Beside a CPU build of torch its library does not load, and
``import torchvision`` then fails because it registers shapes and gradients for operators that nobody declared
("operator torchvision::nms does not exist"). Its image classifiers use none of them: declaring their schemas is
enough. Everything in convfault that imports torchvision, or a package that does, calls ``ensure()`` first.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""The operators whose mere absence stops the import; the others are only looked up once the library is loaded."""


@cache
def ensure() -> None:
    """Make ``import torchvision`` work; does nothing where torchvision is absent or its real operators load."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _real_operators_load(Path(spec.origin).parent):
        return
    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            library.define(schema)
    _kept.append(library)


_kept: list[Any] = []
"""Schemas vanish with the ``Library`` that declared them."""


def _real_operators_load(package: Path) -> bool:
    import torch

    for compiled in sorted(package.glob("_C*.so")) + sorted(package.glob("_C*.pyd")):
        try:
            torch.ops.load_library(compiled)
        except (ImportError, OSError):
            continue
        return hasattr(torch.ops.torchvision, "nms")
    return False
