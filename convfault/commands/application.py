"""The application that the commands belong to, and what they share: the bars, the line that does it again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

import convfault
from convfault.flags import Outputs

app = typer.Typer(
    name="convfault",
    help="Finds out [bold]that[/], [bold]where[/] and [bold]why[/] a converted model differs from its source.",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

environments = typer.Typer(no_args_is_help=True, help="Environments of converters that clash with the others.")
app.add_typer(environments, name="environment")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"convfault {convfault.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def command_line() -> str:
    """The shell line that was typed."""
    return shlex.join(["convfault", *sys.argv[1:]])


@contextmanager
def progress_of(outputs: Outputs) -> Iterator[Any]:
    """Bars on a terminal, silence elsewhere."""
    from convfault.progress import Silent

    if outputs.quiet or not sys.stderr.isatty():
        yield Silent()
        return
    from convfault.render.progress import TerminalProgress

    with TerminalProgress() as progress:
        yield progress
