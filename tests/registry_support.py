"""What a closed registry needs: an authority, its certificates, passwords, a token server."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from false_server import serving_port
from images_support import FIXTURE, Json, answer, docker_registry, run, skopeo_copy, tool

from toolkit.images.auth.access import Access, Credentials

USER, PASSWORD, IDENTITY = "anna", "se:cret é", "an identity token"


class Authority:
    """A certificate authority of our own. `directory` is one for --cert-dir that trusts it."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.directory = place / "trusted"
        self.directory.mkdir(parents=True)
        self.certificate = self.directory / "authority.crt"
        self._key = place / "authority.key"
        run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=test authority",
            "-keyout", self._key, "-out", self.certificate,
        )  # fmt: skip

    def issue(self, name: str, key_type: str = "ec") -> tuple[Path, Path]:
        """A certificate of this machine's names, and its key: NAME.cert, NAME.key."""
        certificate, key, request = (self._place / f"{name}.{e}" for e in ("cert", "key", "csr"))
        options = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["rsa:2048"]}
        run(
            "openssl", "req", "-newkey", *options[key_type], "-nodes", "-subj", f"/CN={name}",
            "-keyout", key, "-out", request,
        )  # fmt: skip
        extensions = self._place / "extensions"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        run(
            "openssl", "x509", "-req", "-in", request, "-days", "2", "-CAcreateserial",
            "-CA", self.certificate, "-CAkey", self._key, "-extfile", extensions,
            "-out", certificate,
        )  # fmt: skip
        return certificate, key

    def server_tls(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name))
        return context


def htpasswd(path: Path) -> Path:
    """The passwords of a registry; it takes bcrypt only."""
    path.write_text(run("htpasswd", "-nbB", "-C4", USER, PASSWORD))
    return path


def conf(home: Path, text: str, name: str = "registries.conf") -> Path:
    """Write a file of the user's container configuration."""
    path = home / ".config" / "containers" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@dataclass(frozen=True)
class Closed:
    """A registry that asks for a login."""

    address: str
    trusted: Path

    def access(self, password: str = PASSWORD) -> Access:
        return Access(Credentials(USER, password), certificates=self.trusted)


def push(address: str, repository: str, authority: Authority) -> None:
    """Put the fixture into a closed registry."""
    skopeo_copy(
        f"oci:{FIXTURE}", f"docker://{address}/{repository}:1", "--all",
        "--dest-creds", f"{USER}:{PASSWORD}", "--dest-cert-dir", str(authority.directory),
    )  # fmt: skip


@contextmanager
def password_closed(place: Path, authority: Authority) -> Iterator[Closed]:
    """A registry with TLS that USER may use, with the fixture as team/app:1."""
    certificate, key = authority.issue("registry")
    users = htpasswd(place / "htpasswd")
    with docker_registry(
        place,
        f"tls: {{certificate: {certificate}, key: {key}}}",
        f"{{htpasswd: {{realm: x, path: {users}}}}}",
    ) as address:
        address = f"localhost:{address.rpartition(':')[2]}"
        push(address, "team/app", authority)
        yield Closed(address, authority.directory)


@contextmanager
def token_closed(place: Path, authority: Authority, tokens: TokenServer) -> Iterator[Closed]:
    """The same with tokens, and with open/app:1, which anybody may pull."""
    certificate, key = authority.issue("token-registry")
    with docker_registry(
        place,
        f"tls: {{certificate: {certificate}, key: {key}}}",
        f"{{token: {{realm: '{tokens.url}', service: reg, issuer: test, "
        f"rootcertbundle: {tokens.certificate}}}}}",
    ) as address:
        address = f"localhost:{address.rpartition(':')[2]}"
        for repository in ("team/app", "open/app"):
            push(address, repository, authority)
        yield Closed(address, authority.directory)


@dataclass
class TokenServer:
    """Grants what is asked for to whom it knows; the public may pull what begins with `open/`."""

    certificate: Path
    key: Path
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length).decode()
        query = dict(urllib.parse.parse_qsl(body or request.path.partition("?")[2]))
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        header = request.headers.get("Authorization")
        if body:
            good = query["grant_type"] == "refresh_token" and query["refresh_token"] == IDENTITY
        else:
            good = header in (None, f"Basic {pair}")
        kind = "identity" if body else "password" if header else "nobody"
        self.requests.append(kind)
        if not good:
            answer(401, b'{"details":"wrong"}')(request)
            return
        access = []
        for scope in query.get("scope", "").split():
            name, actions = scope.split(":")[1], scope.split(":")[2].split(",")
            if kind != "nobody" or name.startswith("open/"):
                access.append({"type": "repository", "name": name, "actions": actions})
        token = self._sign({"aud": query["service"], "access": access})
        answer(200, json.dumps({"access_token" if body else "token": token}).encode())(request)

    def _sign(self, claims: Json) -> str:
        """A JWT (RFC 7519), whose x5c header brings the certificate along."""
        der = ssl.PEM_cert_to_DER_cert(self.certificate.read_text())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        now = int(time.time())
        times = {"iat": now - 5, "nbf": now - 5, "exp": now + 300}
        claims = {"iss": "test", "sub": "", "jti": "1", **times, **claims}
        text = b".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        command = [tool("openssl"), "dgst", "-sha256", "-sign", str(self.key)]
        signature = subprocess.run(command, input=text, check=True, capture_output=True).stdout
        return b".".join((text, _base64(signature))).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@contextmanager
def token_server(authority: Authority) -> Iterator[TokenServer]:
    """A token server on https://localhost."""
    tokens = TokenServer(*authority.issue("tokens", "rsa"))
    with serving_port(tokens.handle, authority.server_tls("token-server")) as port:
        tokens.url = f"https://localhost:{port}/token"
        yield tokens


@contextmanager
def relay(connect: Callable[[socket.socket], socket.socket]) -> Iterator[int]:
    """Joins whoever comes to a port of this machine with what `connect` opens for them."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def pump(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(1 << 16):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def serve() -> None:
            while True:
                try:
                    client = server.accept()[0]
                except OSError:
                    return
                upstream = connect(client)
                for ends in ((client, upstream), (upstream, client)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
