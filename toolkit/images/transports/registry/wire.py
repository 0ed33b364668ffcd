"""urllib3's connections, each answer of which must come in time as a whole.

Their own timeouts begin anew with every byte, and interim answers (100 Continue) are not counted.
"""

from __future__ import annotations

import contextlib
import http.client
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from toolkit.images.transports.registry.sockets import Sockets
from toolkit.images.transports.strict_http import StrictResponse

CONNECT_TIMEOUT = 15.0  # seconds
READ_TIMEOUT = 60.0
"""Seconds without a byte; also for an answer's whole head, and for a piece of a body."""
PIECE = 64 << 10
"""Bytes that must come in READ_TIMEOUT: about one kilobyte a second."""


class Response(StrictResponse):
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

    def _close_conn(self) -> None:
        super()._close_conn()
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
