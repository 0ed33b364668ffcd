"""The Docker Engine API: where the engine listens, and GET requests to it.

Why http.client: one request streams an image, and the API needs nothing beyond HTTP/1.1. The
`docker` library would bring the same over requests, does not read the contexts that
`docker context use` sets, gives the stream no better, and reaches ssh through paramiko, which
knows less of the user's ssh configuration than the ssh that docker's own client starts.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from toolkit.errors import AbsentError, DockercError, RefusedError
from toolkit.files.json_document import parse_document
from toolkit.images.transports.strict_http import StrictResponse
from toolkit.limits import MAX_DOCUMENT

_CONNECT_TIMEOUT = 15.0  # seconds
# An engine may collect a whole image before its first byte.
_READ_TIMEOUT = 1800.0
_HELP = "start it, set DOCKER_HOST, or save the image to a file and name docker-archive:FILE"
_MESSAGE_LIMIT = 500


@dataclass(frozen=True)
class EngineAddress:
    """As in DOCKER_HOST, and the directory of ca.pem, cert.pem and key.pem where TLS is wanted."""

    url: str
    certificates: Path | None = None


def find_engine() -> EngineAddress:
    """What docker's client would talk to; else podman's socket, where there is one."""
    directory = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    if url := os.environ.get("DOCKER_HOST"):
        if not os.environ.get("DOCKER_TLS_VERIFY"):
            return EngineAddress(url)
        return EngineAddress(url, Path(os.environ.get("DOCKER_CERT_PATH") or directory))
    context = os.environ.get("DOCKER_CONTEXT") or _current_context(directory)
    if context and context != "default":
        return _context_address(directory / "contexts", context)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [Path("/var/run/docker.sock"), Path("/run/podman/podman.sock")]
    if runtime:
        places[1:1] = [Path(runtime, "docker.sock"), Path(runtime, "podman", "podman.sock")]
    found = [path for path in places if path.exists() and os.access(path, os.W_OK)]
    return EngineAddress(f"unix://{(found or places)[0]}")


def _current_context(directory: Path) -> str:
    path = directory / "config.json"
    try:
        data = path.read_bytes()
    except OSError:
        return ""
    return parse_document(data, str(path)).text("currentContext")


def _context_address(directory: Path, name: str) -> EngineAddress:
    """docker/cli, `cli/context/store`: a context's files are named by the hash of its name."""
    key = hashlib.sha256(name.encode()).hexdigest()
    path = directory / "meta" / key / "meta.json"
    try:
        document = parse_document(path.read_bytes(), str(path))
    except OSError:
        raise AbsentError(f"docker's context '{name}' does not exist") from None
    url = document.object("Endpoints").object("docker").text("Host")
    certificates = directory / "tls" / key / "docker"
    return EngineAddress(url, certificates if certificates.is_dir() else None)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        family = getattr(socket, "AF_UNIX", None)
        if family is None:
            raise OSError(errno.EAFNOSUPPORT, "this system has no Unix sockets")
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(_CONNECT_TIMEOUT)
        self.sock.connect(self._path)


class _SshConnection(http.client.HTTPConnection):
    """Through the ssh program, as docker's client does it (docker/cli, `cli/connhelper`)."""

    def __init__(self, url: str) -> None:
        super().__init__("localhost")
        parts = urlsplit(url)
        self._command = ["ssh", "-T", "-o", "ConnectTimeout=30"]
        if parts.username:
            self._command += ["-l", parts.username]
        if parts.port:
            self._command += ["-p", str(parts.port)]
        socket_option = ["--host", f"unix://{parts.path}"] if parts.path.strip("/") else []
        self._command += ["--", parts.hostname or "", "docker", *socket_option]
        self._command += ["system", "dial-stdio"]
        self._process: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        self.sock, theirs = socket.socketpair()
        # When our end closes, dial-stdio and ssh end too.
        with theirs:
            end = theirs.fileno()
            self._process = subprocess.Popen(self._command, stdin=end, stdout=end)

    def close(self) -> None:
        super().close()
        if self._process:
            self._process.wait()


class Engine:
    """One connection to an engine; a context manager."""

    def __init__(self, address: EngineAddress) -> None:
        self.url = address.url
        self._connection = _connection(address)
        self._connection.response_class = StrictResponse

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, path: str, query: Mapping[str, str]) -> http.client.HTTPResponse:
        """The answer, its body unread. Raises DockercError when the engine cannot be reached."""
        try:
            self._connection.connect()
            self._connection.sock.settimeout(_READ_TIMEOUT)
            self._connection.request("GET", f"{path}?{urlencode(query)}")
            return self._connection.getresponse()
        except PermissionError:
            raise RefusedError(
                f"the container engine at {self.url} does not let this user in; join its group, "
                f"or save the image to a file and name docker-archive:FILE"
            ) from None
        except ssl.SSLError as error:
            raise DockercError(
                f"the container engine at {self.url} does not speak TLS as it should: "
                f"{error.reason or error}"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
            raise AbsentError(
                f"no container engine answers at {self.url} ({_line(reason).rstrip('.')}): {_HELP}"
            ) from None


def read_message(response: http.client.HTTPResponse) -> str:
    """What an error answer says, on one line."""
    try:
        data = response.read(MAX_DOCUMENT)
        message = parse_document(data, "the answer").text("message")
    except (DockercError, OSError, http.client.HTTPException):
        message = ""
    if not message:
        message = f"{response.status} {response.reason}"
    return _line(message)


def _line(text: str) -> str:
    return re.sub(r"[^\x20-\x7e\xa0-\U0010ffff]+", " ", text).strip()[:_MESSAGE_LIMIT]


def _connection(address: EngineAddress) -> http.client.HTTPConnection:
    try:
        parts = urlsplit(address.url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _unusable(address) from None
    if parts.scheme == "unix" and hasattr(socket, "AF_UNIX"):
        return _UnixConnection(parts.netloc + parts.path)
    if parts.scheme == "ssh" and host:
        return _SshConnection(address.url)
    if parts.scheme not in ("tcp", "http", "https") or not host:
        raise _unusable(address)
    if address.certificates or parts.scheme == "https":
        context = _tls(address.certificates)
        return http.client.HTTPSConnection(
            host, port or 2376, timeout=_CONNECT_TIMEOUT, context=context
        )
    return http.client.HTTPConnection(host, port or 2375, timeout=_CONNECT_TIMEOUT)


def _unusable(address: EngineAddress) -> DockercError:
    return DockercError(
        f"the container engine's address '{_line(address.url)}' is not one that dockerc can use: "
        f"unix://PATH, tcp://HOST:PORT or ssh://[USER@]HOST"
    )


def _tls(certificates: Path | None) -> ssl.SSLContext:
    if certificates is None:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
        context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    except OSError as error:
        raise DockercError(
            f"cannot use ca.pem, cert.pem and key.pem in {certificates}: {error.strerror or error}"
        ) from None
    return context
