"""A converter: one hop from one framework's format to another's, by one tool.

A converter is one file ``<target>_from_<source>.py`` with a ``CONVERTER`` value and a function
``convert(source, target, options)``. That function runs in a process of its own, perhaps in an environment where
only the tool is installed: the file imports the standard library and this module at its top, all else inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from convfault.errors import MissingPackageError, UnknownNameError, UsageError
from convfault.model import Model

if TYPE_CHECKING:
    from convfault.converters.environment import Environment

Facts = Mapping[str, Any]
Convert = Callable[[Model, str, Mapping[str, Any]], "Facts | None"]

BASE_MEGABYTES = 1000.0
"""What the imports of a tool take, TensorFlow's being the largest."""

KINDS: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "flag": (bool,),
    "integer": (int,),
    "number": (int, float),
}


@dataclass(frozen=True)
class Option:
    """An option of a tool: what it does, its default (None: the tool's own), and the values that it takes.

    ``kind`` is ``text``, ``flag``, ``integer`` or ``number``; ``many``: a list of such values (one alone is a list of
    one); ``choices`` are the values when they are few.
    """

    description: str
    default: Any = None
    choices: tuple[Any, ...] = ()
    kind: str = "text"
    many: bool = False

    def read(self, name: str, value: Any) -> Any:
        """The value in the option's kind; raises ``UsageError``, of a choice ``UnknownNameError``."""
        if value is None:
            return None
        if self.many:
            items = value if isinstance(value, list | tuple) else [value]
            return [self._read_one(name, item) for item in items]
        return self._read_one(name, value)

    def _read_one(self, name: str, value: Any) -> Any:
        fits = isinstance(value, KINDS[self.kind]) and (self.kind == "flag" or not isinstance(value, bool))
        if self.kind == "text" and not isinstance(value, str | list | dict):
            value, fits = str(value), True
        if not fits:
            article = "an" if self.kind == "integer" else "a"
            raise UsageError(f"{name} takes {article} {self.kind}, not {value!r}: {self.description}")
        if self.choices and value not in self.choices:
            raise UnknownNameError(f"value of {name}", str(value), tuple(map(str, self.choices)))
        return value


@dataclass(frozen=True)
class Converter:
    """One hop by one tool.

    ``tool`` is the name that users write; ``source`` and ``target`` are frameworks; ``formats`` are the source formats
    that it reads and ``target_format`` the one that it writes, as a file or folder called ``filename``.
    ``package`` is the distribution whose version is the tool's, ``companions`` those whose version matters too.
    ``extra`` is the one of convfault's extras that installs them, ``environment`` the environment of their own that
    they live in instead; ``version`` is the release that was asked for (None: the one that is there).

    ``convert`` is ``"module:function"``: it takes the source ``Model`` (signature filled in), the path to write and all
    options, and writes the target or raises. It may return facts: ``layout``, the layout that the target's input has,
    and ``notes``, sentences about what a user might not expect. ``layout`` here is what happens to the layout of the
    picture input when the function says nothing: ``keeps``, ``NHWC`` or ``NCHW``. ``calibration_option`` is the option
    that says how many pictures the tool measures on; the function finds them in ``options["calibration"]``, records of
    ``batches`` and ``preprocessing``.
    ``memory_factor`` estimates the memory beside ``BASE_MEGABYTES``: megabytes for each one of the source file.
    """

    tool: str
    source: str
    target: str
    formats: tuple[str, ...]
    target_format: str
    filename: str
    package: str
    convert: str
    extra: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)
    companions: tuple[str, ...] = ()
    layout: str = "keeps"
    calibration_option: str | None = None
    environment: str | None = None
    version: str | None = None
    memory_factor: float = 20.0

    def expected_megabytes(self, source_bytes: int) -> float:
        """About how much memory a conversion takes, for whoever runs several at once (upper side of what was seen)."""
        return BASE_MEGABYTES + self.memory_factor * source_bytes / 1e6

    def home(self) -> Environment | None:
        """The environment that it runs in; None: the one of convfault itself. Raises ``UsageError``."""
        from convfault.converters import release

        return release.home(self)

    def versions(self) -> dict[str, str]:
        """Versions of the tool's package and its companions, installed or (in an environment of their own) pinned.

        Raises ``MissingPackageError``, and ``UsageError`` for a release that is not to be had.
        """
        home = self.home()
        if home is None:
            return {name: self._version(name) for name in (self.package, *self.companions)}
        from convfault.converters.environment import package_name

        pins = home.pins
        names = [name for name in (self.package, *self.companions) if package_name(name) in pins]
        return {name: pins[package_name(name)] for name in names}

    def _version(self, package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            raise MissingPackageError(
                f'{package}, which {self.tool} needs, is not installed: pip install "convfault[{self.extra}]"'
            ) from None

    def with_defaults(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options, the given ones read and the others at their default; raises ``UsageError``."""
        for name in options:
            if name not in self.options:
                raise UnknownNameError(f"option of {self.tool}", name, self.options)
        return {
            name: option.read(f"{self.tool}.{name}", options.get(name, option.default))
            for name, option in self.options.items()
        }


def run(convert: str, source: Mapping[str, Any], target: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Job: run one converter's function in this process; its facts."""
    import importlib

    module, _, function = convert.partition(":")
    facts = getattr(importlib.import_module(module), function)(Model.from_record(source), target, options)
    return dict(facts or {})
