"""`--debug`: what is asked of registries and engines, on standard error."""

from __future__ import annotations

import logging
import re
import sys

from toolkit.files.printable import printable


class Formatter(logging.Formatter):
    """One line each. Addresses lose what stands behind a `?`, which may be a signature."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(re.sub(r"\?[^\s\"]*", "?…", super().format(record)))


def log_to_stderr() -> None:
    """From now on; requests' own library tells each connection, address and status."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter("dockerc: debug: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
