"""Weights from the network, in the frameworks' own loaders; what goes wrong there becomes one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from convfault.errors import ConvfaultError, UsageError


def is_address(weights: str) -> bool:
    """Whether weights are given by an http(s) address."""
    return weights.startswith(("http://", "https://"))


@contextmanager
def downloading(what: str) -> Iterator[None]:
    """Translate whatever a framework's loader raises."""
    try:
        yield
    except ConvfaultError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UsageError(
            f"cannot load {what} ({reason}): check the address and the network, or give --weights a file"
        ) from error
