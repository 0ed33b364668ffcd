"""HTTP servers of the tests' own, which answer as a function has it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer, ThreadingMixIn
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


def _handler(reply: Answer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply(self)

        do_POST = do_HEAD = do_PUT = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def _serving(server: BaseServer) -> Iterator[None]:
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that leave
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving_port(reply: Answer, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Yields the port of 127.0.0.1 at which it answers, through `tls` if given."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(reply))
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    with _serving(server):
        yield server.server_address[1]


@contextmanager
def serving_socket(reply: Answer, path: Path) -> Iterator[None]:
    """Answers at a Unix socket."""
    from socketserver import UnixStreamServer  # which not every system has

    class _UnixServer(ThreadingMixIn, UnixStreamServer):
        daemon_threads = True

    with _serving(_UnixServer(str(path), _handler(reply))):
        yield
