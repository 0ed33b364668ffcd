"""What the benchmark fetches from: a registry, a web server that knows ranges, and a meter."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Meter:
    """Passes connections on to a port, and counts the bytes that come back, headers and all."""

    def __init__(self, port: int) -> None:
        self.bytes = 0
        self.direct = f"127.0.0.1:{port}"
        """The way past the meter, for who measures time."""
        self._port = port
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """No further connections."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                client = self._server.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            for source, sink, counts in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._pump, args=(source, sink, counts), daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                if counts:
                    with self._lock:
                        self.bytes += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def registry(directory: Path) -> Iterator[Meter]:
    """Debian's docker-registry, through a meter."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = directory / "registry.yml"
    settings.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory / 'registry'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with subprocess.Popen(
        ["docker-registry", "serve", settings],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        meter = Meter(port)
        try:
            yield meter
        finally:
            meter.close()
            process.terminate()


@contextlib.contextmanager
def web(directory: Path) -> Iterator[Meter]:
    """A web server of these files that answers for ranges, of which zsync asks for many."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            data = (directory / Path(self.path).name).read_bytes()
            asked = re.findall(r"(\d+)-(\d+)", self.headers.get("Range", ""))
            parts = [(int(first), min(int(last), len(data) - 1)) for first, last in asked]
            if not parts:
                self._send(200, {}, data)
            elif len(parts) == 1:
                ((first, last),) = parts
                told = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
                self._send(206, told, data[first : last + 1])
            else:
                pieces = [
                    f"\r\n--b\r\nContent-Range: bytes {first}-{last}/{len(data)}\r\n\r\n".encode()
                    + data[first : last + 1]
                    for first, last in parts
                ]
                told = {"Content-Type": "multipart/byteranges; boundary=b"}
                self._send(206, told, b"".join(pieces) + b"\r\n--b--\r\n")

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    meter = Meter(server.server_address[1])
    try:
        yield meter
    finally:
        meter.close()
        server.shutdown()
        server.server_close()
