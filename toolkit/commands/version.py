"""`dockerc version`."""

from __future__ import annotations

from toolkit.version import __version__


def version() -> None:
    """Print the version.

    dockerc version
    """
    print(f"dockerc {__version__}")
