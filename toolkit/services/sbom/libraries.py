"""The libraries that write documents: an extra, since few need them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from toolkit.errors import AbsentError


@contextmanager
def library(name: str) -> Iterator[None]:
    """Raises DockercError where an import fails in the block."""
    try:
        yield
    except ImportError:
        raise AbsentError(
            f"{name} is not installed: pip install 'dockerc[sbom]', or choose another --format"
        ) from None
