"""Which environment a converter runs in: the main one, the one that it names, or one made for the release asked for.

An old release of a tool seldom works with today's companions. The descriptions of environments say which releases
they are known to fit; else the tool's usual companions are tried, and pip says whether they go together.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING

from convfault.converters import environment as environments
from convfault.converters.environment import Environment, package_name, pinned
from convfault.errors import UsageError

if TYPE_CHECKING:
    from convfault.converters.base import Converter

LARGE = {"torch": "it brings some gigabytes of CUDA libraries along"}
"""Packages whose other releases are not installed unless the user wants that, and why."""
ALLOW_LARGE = "CONVFAULT_ALLOW_LARGE"


def home(converter: Converter) -> Environment | None:
    """The environment that the converter runs in; None: the one that convfault itself runs in.

    Raises ``UsageError`` for a release that is no version or not to be had.
    """
    own = environments.find(converter.environment) if converter.environment else None
    if converter.version is None or converter.version == _present(converter.package, own):
        return own
    return for_release(converter.package, converter.version, own, converter.companions)


def for_release(
    package: str, version: str, own: Environment | None = None, companions: tuple[str, ...] = ()
) -> Environment:
    """An environment with this release of a package; ``own`` and ``companions``: what its usual release runs with."""
    _check_version(package, version)
    _check_size(package, version)
    for name in environments.names():
        described = environments.find(name)
        if described.pins.get(package_name(package)) == version:
            return described
        if _fits(version, described.releases.get(package_name(package))):
            return _with_release(described, package, version)
    if own is not None:
        return _with_release(own, package, version)
    present = [f"{name}=={_present(name, None)}" for name in companions if _present(name, None)]
    python = ".".join(map(str, sys.version_info[:2]))
    about = "the companions of the usual release"
    return Environment(f"{package}-{version}", python, (f"{package}=={version}", *present), about=about)


def parse_release(text: str) -> tuple[str, str | None]:
    """``tf2onnx==1.13.0`` → name and version; the version is None where the text is a name only."""
    name, equals, version = (part.strip() for part in text.partition("=="))
    if equals and not version:
        raise UsageError(f"'{text}' names no version: write for example {name}==1.13.0")
    return name, version or None


def find(text: str) -> Environment:
    """The environment that a user names: a described one, or a package at a release (``tf2onnx==1.13.0``)."""
    name, version = parse_release(text)
    if version is None:
        return environments.find(name)
    own = next((item for item in map(environments.find, environments.names()) if package_name(name) in item.pins), None)
    return for_release(name, version, own)


def _with_release(described: Environment, package: str, version: str) -> Environment:
    """The same requirements with another release of the package; what they bring along is free again."""
    others = [text for text in described.requirements if package_name(package) not in pinned([text])]
    requirements = (f"{package}=={version}", *others)
    return replace(described, name=f"{package}-{version}", requirements=requirements, constraints=(), releases={})


def _present(package: str, own: Environment | None) -> str | None:
    """The version that is used when none is asked for."""
    if own is not None:
        return own.pins.get(package_name(package))
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def _fits(version: str, wanted: str | None) -> bool:
    from packaging.specifiers import SpecifierSet

    return wanted is not None and SpecifierSet(wanted).contains(version, prereleases=True)


def _check_version(package: str, version: str) -> None:
    from packaging.version import InvalidVersion, Version

    try:
        Version(version)
    except InvalidVersion:
        raise UsageError(f"'{version}' is no version of {package}: write for example {package}==1.13.0") from None


def _check_size(package: str, version: str) -> None:
    if package in LARGE and not os.environ.get(ALLOW_LARGE):
        raise UsageError(
            f"{package} {version} is not at hand: {LARGE[package]}; set {ALLOW_LARGE}=1 to install it all the same"
        )
