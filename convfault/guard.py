"""What a command does with errors: one sentence, and the exit code that says whose fault it was."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import typer

from convfault.errors import ConvfaultError


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn convfault's errors into one sentence and their exit code, Ctrl-C into 130, all else into 3."""

    @functools.wraps(command)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except ConvfaultError as error:
            _complain(str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            _complain("interrupted; nothing half-made was kept")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            _complain(f"a defect of convfault: {type(error).__name__}: {error}", _keep_traceback())
            raise typer.Exit(3) from None

    return wrapper


def _complain(*sentences: str) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True)
    console.print(
        Text("convfault: ", style="bold red") + Text(" ".join(sentence for sentence in sentences if sentence))
    )


def _keep_traceback() -> str:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="convfault-defect-", suffix=".log", delete=False) as file:
        traceback.print_exc(file=file)
    return f"(please report it with {file.name})"
