"""Finds out that, where and why a converted deep-learning model differs from its source, and repairs it.

::

    import convfault

    report = convfault.diff("model.keras", "model.tflite", data="pictures/")
    print(report.comparison.verdict, report.comparison.top1_disagreement)

Everything is imported on first use, so that ``import convfault`` is quick and works with no framework installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convfault.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from convfault.comparison import Comparison as Comparison
    from convfault.errors import ConvfaultError as ConvfaultError
    from convfault.model import Model as Model
    from convfault.pipeline import Application
    from convfault.preprocessing import Preprocessing as Preprocessing
    from convfault.repairing.order import Order as Order
    from convfault.report import Report as Report
    from convfault.request import Context as Context
    from convfault.request import Request as Request

_HOMES = {
    "Comparison": "comparison",
    "Context": "request",
    "ConvfaultError": "errors",
    "Model": "model",
    "Preprocessing": "preprocessing",
    "Order": "repairing.order",
    "Report": "report",
    "Request": "request",
}

__all__ = [*sorted(_HOMES), "__version__", "apply", "diff", "judge", "localize", "repair"]


def diff(source: str | Path | None = None, target: str | Path | None = None, /, **request: Any) -> Report:
    """Compare a model with its conversion; ``request`` takes the fields of ``convfault.Request``.

    A keyword ``context`` takes a ``convfault.Context`` (cache, progress, limits). Raises ``ConvfaultError``.
    """
    from convfault import pipeline

    return pipeline.diff(*_asked(source, target, request))


def localize(
    source: str | Path | None = None, target: str | Path | None = None, /, trials: int | None = None, **request: Any
) -> Report:
    """The same, and ``Report.faults`` tells where and why they differ, what causes most first.

    ``trials``: how many other ways to convert are tried where the conversion is at fault (None: a few, if quick).
    """
    from convfault import pipeline

    asked, context = _asked(source, target, request)
    return pipeline.localize(asked, context, trials=trials)


def repair(
    source: str | Path | None = None,
    target: str | Path | None = None,
    /,
    order: Order | None = None,
    **request: Any,
) -> Report:
    """The same, and ``Report.repaired`` tells what was written and whether it agrees; ``order`` says what it may."""
    from convfault import pipeline

    asked, context = _asked(source, target, request)
    return pipeline.repair(asked, order, context)


def apply(patch: str | Path, target: str | Path, out: str | Path | None = None, trust: bool = False) -> Application:
    """Replay a recorded repair (``Order.patch``) on another copy of the model, without running anything."""
    from pathlib import Path

    from convfault import pipeline

    return pipeline.apply(Path(patch), Path(target), None if out is None else Path(out), trust)


def _asked(
    source: str | Path | None, target: str | Path | None, request: dict[str, Any]
) -> tuple[Request, Context | None]:
    from convfault.request import Request

    context = request.pop("context", None)
    source, target = (None if place is None else str(place) for place in (source, target))
    return Request(source, target, **request), context


def judge(path: str | Path, tolerance: float | None = None) -> Report:
    """Judge a saved JSON report again, without running anything."""
    from pathlib import Path

    from convfault import pipeline

    return pipeline.judge(Path(path), tolerance)


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(f"convfault.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'convfault' has no attribute '{name}'")


def __dir__() -> list[str]:
    return list(__all__)
