"""The flags that several commands share, as tables; a command takes them as values instead of thirty parameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from convfault.cache import check_writable
from convfault.matrix.selection import Selection, Work
from convfault.repairing.order import Order
from convfault.request import Context, Request

SUBJECT, DATA, RUN, OUTPUT = "What to compare", "Data", "How to work", "Results"


@dataclass(frozen=True)
class Outputs:
    """Where results go."""

    json: Path | None = None
    html: Path | None = None
    junit: Path | None = None
    quiet: bool = False

    def numbered(self, number: int) -> Outputs:
        """The same places with a number before the suffix: report.1.json."""
        named: dict[str, Any] = {
            name: path.with_name(f"{path.stem}.{number}{path.suffix}") for name, path in self._places()
        }
        return replace(self, **named)

    def _places(self) -> Iterator[tuple[str, Path]]:
        for name in ("json", "html", "junit"):
            if (path := getattr(self, name)) is not None:
                yield name, path

    def check(self, *more: Path | None) -> None:
        """Complain of a place that cannot be written, of these or of ``more``, before any work is done."""
        for path in (*(path for _, path in self._places()), *more):
            if path is not None:
                check_writable(path)


def _option(panel: str, *names: str, help: str, **settings: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **settings)


Flag = tuple[Any, Any, Any]
"""Type, typer option or argument, default."""

REQUEST_FLAGS: dict[str, Flag] = {
    "source": (
        str | None,
        typer.Argument(help="The source: a model file, or module:function for torch.", show_default=False),
        None,
    ),
    "target": (
        str | None,
        typer.Argument(help="The target: a model file that was converted elsewhere.", show_default=False),
        None,
    ),
    "model": (str | None, _option(SUBJECT, "--model", "-m", help="A named model; see: convfault list models."), None),
    "src": (
        str | None,
        _option(SUBJECT, "--src", help="Framework to convert from: torch, keras, tf, tflite, onnx."),
        None,
    ),
    "dst": (str | None, _option(SUBJECT, "--dst", help="Framework to convert to."), None),
    "route": (
        str | None,
        _option(SUBJECT, "--route", help="Hops and tools, like tf>onnx:tf2onnx>torch:onnx2torch."),
        None,
    ),
    "tool_options": (
        list[str] | None,
        _option(
            SUBJECT,
            "--tool-option",
            help="A converter's own option, like tflite_converter.optimizations=DEFAULT; repeat for more.",
        ),
        None,
    ),
    "weights": (
        str | None,
        _option(
            SUBJECT,
            "--weights",
            help="calibrated (default), imagenet, a file or a URL; for module:function its state dict.",
        ),
        None,
    ),
    "trust": (
        bool,
        _option(SUBJECT, "--trust", help="Allow model files to execute code (pickles, Lambda layers)."),
        False,
    ),
    "source_runtime": (
        str | None,
        _option(SUBJECT, "--src-runtime", help="Run the source in another framework, such as tvm."),
        None,
    ),
    "target_runtime": (
        str | None,
        _option(SUBJECT, "--dst-runtime", help="Run the target in another framework, such as tvm."),
        None,
    ),
    "data": (
        str | None,
        _option(DATA, "--data", help="A folder of pictures, an .npz or a list file; default: the embedded set."),
        None,
    ),
    "limit": (
        int | None,
        _option(DATA, "--limit", "-n", help="Use so many pictures (embedded set: 200 unless told)."),
        None,
    ),
    "seed": (int, _option(DATA, "--seed", help="Which pictures --limit takes."), 0),
    "preprocessing": (
        str | None,
        _option(DATA, "--preprocess", help="TOML file or inline, like: size=224, scale=0.00784, mean=[1,1,1]."),
        None,
    ),
    "target_preprocessing": (
        str | None,
        _option(DATA, "--dst-preprocess", help="The same for the target, where it differs."),
        None,
    ),
    "tolerance": (
        float | None,
        _option(RUN, "--tolerance", help="Largest absolute deviation that counts as agreeing; default: derived."),
        None,
    ),
}

CONTEXT_FLAGS: dict[str, Flag] = {
    "fresh": (bool, _option(RUN, "--fresh", help="Run the models again though their answers are known."), False),
    "seconds": (float, _option(RUN, "--timeout", help="Seconds that one conversion may take."), 1800.0),
    "megabytes": (float | None, _option(RUN, "--memory", help="Megabytes that one conversion may use."), None),
}

OUTPUT_FLAGS: dict[str, Flag] = {
    "json": (Path | None, _option(OUTPUT, "--json", help="Write the report as JSON."), None),
    "html": (Path | None, _option(OUTPUT, "--html", help="Write the report as one self-contained page."), None),
    "junit": (Path | None, _option(OUTPUT, "--junit", help="Write the verdict as JUnit XML for CI."), None),
    "quiet": (bool, _option(OUTPUT, "--quiet", "-q", help="Print nothing but errors."), False),
}

SELECTION_FLAGS: dict[str, Flag] = {
    "source": (
        str | None,
        typer.Argument(help="A model file of yours; without one, the named models.", show_default=False),
        None,
    ),
    "models": (
        list[str] | None,
        _option(SUBJECT, "--models", "-m", help="Named models, with commas or repeated; default: all."),
        None,
    ),
    "sources": (
        list[str] | None,
        _option(SUBJECT, "--src", help="Frameworks to convert from; default: torch, keras, tf, tflite."),
        None,
    ),
    "targets": (
        list[str] | None,
        _option(SUBJECT, "--dst", help="Frameworks to convert to; default: torch, keras, tf, tflite."),
        None,
    ),
    "tools": (
        list[str] | None,
        _option(SUBJECT, "--tool", help="Only routes through one of these tools; tool==release for a release of it."),
        None,
    ),
    "routes": (
        list[str] | None,
        _option(SUBJECT, "--route", help="A route to try beside those that are found; repeat for more."),
        None,
    ),
    "max_hops": (int, _option(SUBJECT, "--max-hops", help="Hops that a route has at most."), 3),
    **{name: REQUEST_FLAGS[name] for name in ("tool_options", "weights", "trust", "data")},
    "limit": (
        int | None,
        _option(DATA, "--limit", "-n", help="Use so many pictures a cell (embedded set: 50 unless told)."),
        None,
    ),
    **{name: REQUEST_FLAGS[name] for name in ("seed", "preprocessing", "tolerance")},
}

WORK_FLAGS: dict[str, Flag] = {
    "out": (
        Path,
        _option(RUN, "--out", "-o", help="Folder that keeps every finished cell; a killed run goes on from it."),
        Path("convfault-matrix"),
    ),
    "jobs": (int, _option(RUN, "--jobs", "-j", help="Cells at once; 0: one a core, as memory allows."), 0),
    "budget": (
        float | None,
        _option(
            RUN,
            "--memory-budget",
            help="Megabytes that all cells at once may be expected to use; default: most of what is free.",
        ),
        None,
    ),
    "cluster": (
        str | None,
        _option(RUN, "--cluster", help="Address of a Dask scheduler that takes the cells, like tcp://host:8786."),
        None,
    ),
}

REPAIR = "What to repair"

ORDER_FLAGS: dict[str, Flag] = {
    "out": (
        Path | None,
        _option(OUTPUT, "--out", "-o", help="The repaired model; default: NAME.repaired.SUFFIX in this folder."),
        None,
    ),
    "patch": (Path | None, _option(OUTPUT, "--patch", help="Write the edits as JSON, for: convfault apply."), None),
    "strategies": (
        list[str] | None,
        _option(
            REPAIR,
            "--strategy",
            help="Use only parameters, hyperparameters, graph, input, precision or tool; weights: all values, rounded ones too.",
        ),
        None,
    ),
    "keep_quantized": (
        bool | None,
        _option(
            REPAIR,
            "--keep-quantized/--no-keep-quantized",
            help="Restore as few rounded layers as make the labels right (default for quantized targets), or all.",
            show_default=False,
        ),
        None,
    ),
    "budget": (
        str | None,
        _option(REPAIR, "--budget", help="How large a quantized target may become: 0.5 of its full size, or 20MB."),
        None,
    ),
    "correct": (
        str,
        _option(
            REPAIR, "--correct", help="Mend a wrong input in the model, or in its preprocessing (a file beside it)."
        ),
        "model",
    ),
}

TABLES: dict[str, tuple[Callable[..., Any], dict[str, Flag]]] = {
    "request": (Request, REQUEST_FLAGS),
    "selection": (Selection, SELECTION_FLAGS),
    "work": (Work, WORK_FLAGS),
    "context": (Context, CONTEXT_FLAGS),
    "outputs": (Outputs, OUTPUT_FLAGS),
    "order": (Order, ORDER_FLAGS),
}
"""Parameter name of a command → the value it receives and the flags that make it up."""


def shared(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command with parameters named as in ``TABLES`` all their flags; its other parameters stay as they are."""
    original = inspect.signature(command, eval_str=True).parameters
    expanded: dict[str, inspect.Parameter] = {}
    for name, parameter in original.items():
        if name not in TABLES:
            expanded[name] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            continue
        for flag, (kind, option, default) in TABLES[name][1].items():
            expanded[flag] = inspect.Parameter(
                flag, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
            )

    @functools.wraps(command)
    def wrapper(**given: Any) -> Any:
        values = {name: given[name] for name in original if name not in TABLES}
        for name, (kind, flags) in TABLES.items():
            if name in original:
                chosen = {flag: given[flag] for flag in flags}
                values[name] = kind(
                    **{flag: tuple(v) if isinstance(v, list) else v for flag, v in chosen.items() if v is not None}
                )
        return command(**values)

    wrapper.__signature__ = inspect.Signature(list(expanded.values()))  # type: ignore[attr-defined]
    wrapper.__annotations__ = {name: parameter.annotation for name, parameter in expanded.items()}
    del wrapper.__wrapped__  # type: ignore[attr-defined]
    return wrapper
