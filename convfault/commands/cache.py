"""``convfault cache``."""

from __future__ import annotations

from typing import Annotated

import typer

from convfault.commands.application import app
from convfault.guard import guarded


@app.command()
@guarded
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Drop everything.")] = False,
) -> None:
    """Where built models, conversions, pictures and runs are kept, and how large that is."""
    from convfault.cache import Cache

    store = Cache.default()
    if clear:
        typer.echo(f"freed {store.clear() / 1e6:.0f} MB in {store.root}")
        return
    entries = store.entries()
    typer.echo(f"{store.root}: {len(entries)} entries, {sum(size for _, size, _ in entries) / 1e6:.0f} MB")
