"""http.client, strict where it believes a server.

It takes `-1` for the size of a chunk and then reads without end, and follows trailers without
counting them.
"""

from __future__ import annotations

import http.client
import re

_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")  # RFC 9112, 7.1
_MAX_LINE = 4096
_MAX_TRAILERS = 100


class StrictResponse(http.client.HTTPResponse):
    """An answer whose chunks have sizes, and whose trailers an end."""

    def _read_next_chunk_size(self) -> int:
        # A ValueError is what http.client turns into a body that is cut.
        line = self.fp.readline(_MAX_LINE + 1)
        size = line.partition(b";")[0].strip()
        if len(line) > _MAX_LINE or not _CHUNK_SIZE.fullmatch(size):
            self._close_conn()
            raise ValueError("a chunk without a proper size")
        return int(size, 16)

    def _read_and_discard_trailer(self) -> None:
        for _ in range(_MAX_TRAILERS):
            line = self.fp.readline(_MAX_LINE + 1)
            if not line.rstrip(b"\r\n"):
                return
        raise http.client.HTTPException("trailers without end")

    def _close_conn(self) -> None:
        super()._close_conn()  # type: ignore[misc]
