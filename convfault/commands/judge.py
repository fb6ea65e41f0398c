"""``convfault judge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convfault.commands.application import app
from convfault.flags import Outputs
from convfault.guard import guarded


@app.command()
@guarded
def judge(
    report: Annotated[Path, typer.Argument(help="A JSON report that an earlier command wrote.")],
    tolerance: Annotated[float | None, typer.Option(help="Largest absolute deviation that counts as agreeing.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the judged report.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write it as a page.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write it as JUnit XML.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Judge a saved result again, under another tolerance, without running anything."""
    from convfault import delivery, pipeline

    outputs = Outputs(json_file, html, junit, quiet)
    outputs.check()
    judged = pipeline.judge(report, tolerance)
    delivery.report(judged, outputs)
    raise typer.Exit(judged.exit_code)
