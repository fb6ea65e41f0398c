"""``convfault environment``."""

from __future__ import annotations

from typing import Annotated

import typer

from convfault.commands.application import environments, progress_of
from convfault.errors import UsageError
from convfault.flags import Outputs
from convfault.guard import guarded


@environments.command("install")
@guarded
def install(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="As listed, or a tool at a release: tf2onnx==1.13.0.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every one that convfault describes.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Make environments now rather than on first use; see: convfault list environments."""
    from convfault.cache import Cache
    from convfault.converters import environment, install
    from convfault.render import terminal

    chosen = [*(environment.names() if every else ()), *(names or ())]
    if not chosen:
        raise UsageError(f"name an environment ({', '.join(environment.names())}) or give --all")
    with progress_of(Outputs(quiet=quiet)) as progress:
        rows = install.install_named(chosen, Cache.default(), progress)
    if not quiet:
        terminal.table("environments", rows)
