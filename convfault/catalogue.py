"""What ``convfault list`` shows, as rows of plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convfault.errors import MissingPackageError

Rows = list[dict[str, Any]]


def models() -> Rows:
    """The named models."""
    from convfault import zoo

    entries = [zoo.find(name) for name in zoo.names()]
    return [
        {"model": entry.name, "title": entry.title, "classes": entry.classes, "also": ", ".join(entry.aliases)}
        for entry in entries
    ]


def datasets() -> Rows:
    """The embedded data and the kinds of the user's own."""
    from convfault import dataset

    return dataset.kinds()


def frameworks() -> Rows:
    """The frameworks with their versions and the formats that they run."""
    from convfault.frameworks import FRAMEWORKS
    from convfault.model import FRAMEWORK_OF_FORMAT

    rows = []
    for name in FRAMEWORKS:
        adapter = FRAMEWORKS[name]
        formats = [form for form, framework in FRAMEWORK_OF_FORMAT.items() if framework == name]
        try:
            version = adapter.version()
        except MissingPackageError as error:
            version = str(error)
        rows.append({"framework": name, "package": adapter.package, "version": version, "formats": ", ".join(formats)})
    return rows


def converters() -> Rows:
    """The converters with their versions and options."""
    from convfault.converters import listing

    return listing.converters()


def environments() -> Rows:
    """The environments of converters that cannot live beside the others, and whether they are made."""
    from convfault.converters import listing

    return listing.environments()


def routes() -> Rows:
    """Every route between two frameworks."""
    from convfault.converters import listing

    return listing.routes()


LISTINGS: dict[str, Callable[[], Rows]] = {
    "models": models,
    "datasets": datasets,
    "frameworks": frameworks,
    "converters": converters,
    "environments": environments,
    "routes": routes,
}
