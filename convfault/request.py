"""What a user asked for, as one checked value that every command shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from convfault.cache import Cache
from convfault.errors import UsageError
from convfault.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Iterator

SPELLINGS = {"tensorflow": "tf", "pytorch": "torch", "lite": "tflite", "litert": "tflite", "onnxruntime": "onnx"}
"""Other names that people give the frameworks."""

DEFAULT_PICTURES = 200
"""How many pictures of the embedded set are used when nobody says."""


def framework_name(text: str) -> str:
    """The framework's name in convfault's own spelling."""
    lowered = text.strip().lower()
    return SPELLINGS.get(lowered, lowered)


@dataclass(frozen=True)
class Request:
    """Two models and the data to compare them on, in one of three forms:

    - ``model``, ``src``, ``dst``: a named model, built in ``src`` and converted to ``dst`` here;
    - ``source``, ``target``: two model files, converted elsewhere;
    - ``source``, ``dst``: a model file, converted here.

    ``route`` names hops and tools; ``tool_options`` are ``tool.option=value``; ``weights`` is ``calibrated``,
    ``imagenet``, a file or a URL; ``data`` a folder, ``.npz`` or list file (None: the embedded pictures), of which
    ``limit`` are used. ``preprocessing`` is a TOML file or inline TOML. ``source_runtime`` and ``target_runtime`` run a
    side in another framework than its own (``tvm``). ``tolerance`` None: derived.
    """

    source: str | None = None
    target: str | None = None
    model: str | None = None
    src: str | None = None
    dst: str | None = None
    route: str | None = None
    tool_options: tuple[str, ...] = ()
    weights: str | None = None
    data: str | None = None
    limit: int | None = None
    seed: int = 0
    preprocessing: str | None = None
    target_preprocessing: str | None = None
    tolerance: float | None = None
    trust: bool = False
    source_runtime: str | None = None
    target_runtime: str | None = None

    def __post_init__(self) -> None:
        for name in ("src", "dst", "source_runtime", "target_runtime"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, framework_name(value))
        if problem := next(self._problems(), None):
            raise UsageError(problem)

    def _problems(self) -> Iterator[str]:
        if self.source is None and self.model is None:
            yield "nothing to compare: give --model with --src and --dst, or two model files"
        if self.source is not None and self.model is not None:
            yield f"both a file ({self.source}) and --model {self.model} were given: give one of them"
        if self.model is not None and self.source is None and Path(self.model).is_file():
            yield f"--model is for convfault's own models, but {self.model} is a file: give it without --model"
        if self.model is not None and (self.src is None or self.dst is None) and self.route is None:
            yield f"--model {self.model} needs --src and --dst, the frameworks to convert from and to"
        if self.target is not None and self.route is not None:
            yield "--route converts the source, but a target file was given: drop one of them"
        if self.target is not None and self.dst is not None:
            yield f"--dst {self.dst} converts the source, but a target file was given: drop one of them"
        if self.source is not None and self.target is None and self.dst is None and self.route is None:
            yield f"nothing to compare {self.source} with: give a second model file, or --dst to convert it here"
        if self.limit is not None and self.limit < 1:
            yield f"--limit is {self.limit}: at least one picture is needed"
        if self.tolerance is not None and not self.tolerance >= 0:
            yield f"--tolerance is {self.tolerance}: it must be a number of at least 0"

    @property
    def named_data(self) -> str | None:
        """``data``, with None for the embedded set under any of its names."""
        return None if self.data in {None, "embedded", "fractals"} else self.data

    @property
    def pictures(self) -> int | None:
        """How many pictures to use; None: all."""
        return self.limit if self.limit is not None or self.named_data else DEFAULT_PICTURES


@dataclass(frozen=True)
class Context:
    """How to work, whatever is asked: where results are kept, who is told of progress, and the limits of a subject.

    ``fresh`` runs models again though the cache knows their answers; ``seconds`` and ``megabytes`` bound one
    conversion.
    """

    cache: Cache = field(default_factory=Cache.default)
    progress: Progress = field(default_factory=Silent)
    fresh: bool = False
    seconds: float = 1800.0
    megabytes: float | None = None
