"""``convfault report-schema``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from convfault.commands.application import app
from convfault.guard import guarded


@app.command("report-schema")
@guarded
def report_schema(
    of: Annotated[str, typer.Argument(help="report (of one comparison), matrix, regression or patch")] = "report",
) -> None:
    """Print the JSON Schema that every JSON file of a kind validates against."""
    from convfault import schemas

    typer.echo(json.dumps(schemas.schema(of), indent=1))
