"""``convfault regress``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from convfault.commands.application import app, progress_of
from convfault.commands.matrix import Plot
from convfault.flags import Outputs, shared
from convfault.guard import guarded
from convfault.matrix.selection import Selection, Work
from convfault.request import Context


@app.command()
@guarded
@shared
def regress(
    selection: Selection,
    work: Work,
    context: Context,
    outputs: Outputs,
    baseline: Annotated[Path | None, typer.Option(help="Compare with what was kept here.")] = None,
    write_baseline: Annotated[Path | None, typer.Option(help="Keep what the cells give now.")] = None,
    plot: Plot = None,
) -> None:
    """Tell in CI what got worse since a baseline; without a selection, the cells of the baseline are tried."""
    from convfault import delivery, pipeline

    delivery.check_picture(plot)
    outputs.check(plot)
    work = replace(work, pages=outputs.html is not None)
    with progress_of(outputs) as progress:
        context = replace(context, progress=progress)
        found = pipeline.regress(baseline, selection, work, context, write_baseline)
    delivery.regression(found, work, outputs, write_baseline, plot)
    raise typer.Exit(found.exit_code)
