"""``convfault list``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from convfault.commands.application import app
from convfault.errors import UnknownNameError
from convfault.guard import guarded


@app.command("list")
@guarded
def list_(
    what: Annotated[str, typer.Argument(help="models, datasets, frameworks, converters, environments or routes")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """What convfault knows: named models, data sets, frameworks, converters, their environments, routes."""
    from convfault import catalogue
    from convfault.render import terminal

    if what not in catalogue.LISTINGS:
        raise UnknownNameError("list", what, catalogue.LISTINGS)
    rows = catalogue.LISTINGS[what]()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        terminal.table(what, rows)
