"""HTTP/1.1 as http.client and urllib3 read it, made strict where they believe a server.

http.client takes `-1` for the size of a chunk and then reads without end, follows trailers and
interim answers without counting them, and its timeouts begin anew with every byte.
"""

from __future__ import annotations

import contextlib
import http.client
import re
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from toolkit.images.sockets import Sockets

CONNECT_TIMEOUT = 15.0  # seconds
READ_TIMEOUT = 60.0
"""Seconds without a byte; also for an answer's whole head, and for a piece of a body."""
PIECE = 64 << 10
"""Bytes that must come in READ_TIMEOUT: about one kilobyte a second."""
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")  # RFC 9112, 7.1
_MAX_LINE = 4096
_MAX_TRAILERS = 100


class Response(http.client.HTTPResponse):
    """An answer; `held` is its connection, `sockets` are those it belongs to."""

    sockets: Sockets

    def __init__(self, sock: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.held = self.sockets.hold(sock)

    def begin(self, **named: Any) -> None:
        """Read the head, in bounded time."""
        with self.sockets.limit(self.held, READ_TIMEOUT) as limit:
            try:
                super().begin(**named)
            except (OSError, http.client.HTTPException):
                if not limit.expired:
                    raise
            if limit.expired:  # else a head that was cut might be taken for a whole one
                raise TimeoutError("the answer's head did not come in time")

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
        self.held.close()


def pool_classes(sockets: Sockets) -> dict[str, type[HTTPConnectionPool]]:
    """For urllib3's pool manager: connections whose sockets are held in `sockets`."""

    class OurResponse(Response):
        pass

    OurResponse.sockets = sockets

    class Guarded:
        """Ends a TLS handshake that does not come to an end."""

        def _new_conn(self) -> Any:
            connection = super()._new_conn()  # type: ignore[misc]
            held = self._stack.enter_context(sockets.hold(connection))
            self._stack.enter_context(sockets.limit(held, CONNECT_TIMEOUT))
            return connection

        def connect(self) -> None:
            with contextlib.ExitStack() as self._stack:
                super().connect()  # type: ignore[misc]

    class Plain(Guarded, HTTPConnection):
        response_class = OurResponse

    class Tls(Guarded, HTTPSConnection):
        response_class = OurResponse

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}
