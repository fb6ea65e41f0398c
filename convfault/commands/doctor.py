"""``convfault doctor``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from convfault.commands.application import app
from convfault.guard import guarded


@app.command()
@guarded
def doctor(
    quick: Annotated[bool, typer.Option(help="Look at versions only, import nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """What is installed, what is missing or broken, and how to get it."""
    from dataclasses import asdict

    from convfault import doctor as examination
    from convfault.render import terminal

    findings = [asdict(finding) for finding in examination.examine(quick)]
    if as_json:
        typer.echo(json.dumps({**examination.system(), "packages": findings}, indent=1))
    else:
        terminal.table("packages", findings)
    raise typer.Exit(0 if all(finding["status"] == "ok" for finding in findings) else 1)
