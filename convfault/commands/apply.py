"""``convfault apply``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convfault.commands.application import app
from convfault.guard import guarded


@app.command()
@guarded
def apply(
    patch: Annotated[Path, typer.Argument(help="What convfault repair --patch wrote.")],
    target: Annotated[Path, typer.Argument(help="Another copy of the model that was repaired.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the repaired copy.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Allow the model file to execute code.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Replay a recorded repair on another copy of the model, without running anything."""
    from convfault import pipeline
    from convfault.render import terminal

    done = pipeline.apply(patch, target, out, trust)
    if not quiet:
        terminal.table("changes", list(done.changes))
        typer.echo(f"written: {done.path}")
