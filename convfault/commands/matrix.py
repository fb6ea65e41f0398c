"""``convfault matrix``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from convfault.commands.application import app, command_line, progress_of
from convfault.flags import Outputs, shared
from convfault.guard import guarded
from convfault.matrix.selection import Selection, Work
from convfault.request import Context

Plot = Annotated[Path | None, typer.Option("--plot", help="Draw the heat map of all models as .svg or .png.")]


@app.command()
@guarded
@shared
def matrix(
    selection: Selection,
    work: Work,
    context: Context,
    outputs: Outputs,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write one row a cell as comma-separated values.")] = None,
    plot: Plot = None,
) -> None:
    """Try every pair of frameworks by every route: which conversions can be trusted, and which tool is best?"""
    from convfault import delivery, pipeline

    delivery.check_picture(plot)
    outputs.check(csv, plot)
    work = replace(work, pages=outputs.html is not None)
    with progress_of(outputs) as progress:
        found = pipeline.matrix(selection, work, replace(context, progress=progress))
    found = replace(found, command_line=command_line())
    delivery.matrix(found, work, outputs, csv, plot)
    raise typer.Exit(found.exit_code)
