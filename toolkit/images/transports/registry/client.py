"""Requests to one repository of a registry: its address, its answers, blobs that are resumed."""

from __future__ import annotations

import io
import ipaddress
import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests

from toolkit.errors import DamagedError, DockercError, RefusedError
from toolkit.images.auth.access import Access
from toolkit.images.auth.certificates import load_trust
from toolkit.images.auth.registries_conf import Endpoint
from toolkit.images.transports.registry.connections import Connections, Interrupted
from toolkit.images.transports.registry.login import Login
from toolkit.images.transports.registry.retry import Attempts

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Docker Hub's API lives at another host than its name (distribution, reference/normalize.go and
# docker's registry/config.go).
_HOSTS = {"docker.io": "registry-1.docker.io"}
# A connection that brought this much was worth its attempt, and gives a blob all of them back.
_PROGRESS = 1 << 20
_FREE_REPEATS = 64 << 20
"""Bytes that a server may send over again, beside as many as the blob has: one that cannot resume
and breaks off often would send a square of its size."""


class RegistryClient:
    """Requests under `/v2/REPOSITORY/`, or `/v2/` where the endpoint has no repository.

    Safe to use from several threads.
    """

    def __init__(self, endpoint: Endpoint, access: Access) -> None:
        self.registry = endpoint.reference.registry
        repository = endpoint.reference.repository
        self._prefix = f"{repository}/" if repository else ""
        self._host = _HOSTS.get(self.registry, self.registry)
        is_local = _is_local(self._host)
        verify = not endpoint.insecure if access.tls_verify is None else access.tls_verify
        # A registry on this machine may speak plain http, as docker allows.
        self._allow_http = not verify or (is_local and access.tls_verify is None)
        self._scheme = "" if self._allow_http else "https"
        self._lock = threading.Lock()
        trust = load_trust(self.registry, access, verify)
        # Go's tools never send requests for this machine to a proxy.
        self._connections = Connections(self.registry, self._host, trust, use_proxy=not is_local)
        # A login given for an image is not shown to the mirrors of its registry.
        given = None if endpoint.is_mirror else access.credentials
        self._login = Login(
            self._connections,
            endpoint.reference,
            given,
            allow_http=self._allow_http,
            authfile=access.authfile,
        )

    def close(self) -> None:
        self._connections.close()

    def read(
        self, path: str, what: str, headers: Mapping[str, str] | None = None
    ) -> tuple[requests.Response, bytes]:
        """`/v2/REPOSITORY/PATH` whole, at most 4 MiB. Nothing is read of a 404: its meaning is
        the caller's to tell. Raises DockercError for all else, naming the thing `what`."""
        attempts = self._connections.attempts()
        while True:
            with self._open(path, what, attempts, headers) as response:
                if response.status_code == 404:
                    return response, b""
                try:
                    return response, self._connections.read(response, what)
                except Interrupted as error:
                    if not attempts.again(cost=error.cost):
                        raise

    def takes_login(self) -> bool:
        """Ask the registry itself, `/v2/`: False where it wants no login, DockercError where it
        refuses this one. For an endpoint without a repository."""
        with self._open("", "its start", self._connections.attempts()) as response:
            if response.status_code == 404:
                raise DockercError(f"{self.registry} is no registry: it has no /v2/")
        return self._login.authorization is not None

    def open_blob(self, digest: str, size: int, what: str) -> io.RawIOBase | None:
        """A blob's bytes, not yet verified, or None where the registry lacks it."""
        attempts = self._connections.attempts()
        response = self._open(f"blobs/{digest}", what, attempts)
        if response.status_code == 404:
            response.close()
            return None
        return _Blob(self, response, attempts, digest, size, what)

    def resume(
        self, response: requests.Response, digest: str, position: int, attempts: Attempts, what: str
    ) -> tuple[requests.Response, int]:
        """Asks anew for what comes after `position`; returns what came, and where it begins."""
        response.close()
        path = f"blobs/{digest}"
        response = self._open(path, what, attempts, {"Range": f"bytes={position}-"})
        if response.status_code in (200, 404, 416):
            return response, 0
        stated = re.match(r"bytes ([0-9]{1,19})-", response.headers.get("Content-Range", ""))
        if stated and int(stated[1]) == position:
            return response, position
        # It answers another question; that for the whole it may understand.
        response.close()
        return self._open(path, what, attempts), 0

    def read_part(self, response: requests.Response, size: int, what: str) -> bytes:
        return self._connections.read_part(response, size, what)

    def request(
        self,
        method: str,
        target: str,
        what: str,
        attempts: Attempts,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> requests.Response:
        """The answer to any request, whatever its status. `target` is a path below
        `/v2/REPOSITORY/`, or an address to which the registry has sent us.

        Raises DockercError when there is none, or the login is refused.
        """
        base = self._base()
        url = target if "://" in target else f"{base}/v2/{self._prefix}{target}"
        is_own = _origin(url) == _origin(base)
        if not is_own:
            self._connections.check_redirect(base, url)
        used = self._login.authorization if is_own else None
        response = self._connections.send(method, url, attempts, used, headers, body)
        # The challenge of a host that we were sent to is none of ours: it could name a token
        # server of its own, and be given the password.
        if response.status_code == 401 and is_own and not response.history:
            challenge = response.headers.get("WWW-Authenticate", "")
            response.close()
            authorization = self._login.renew(used, challenge, what)
            response = self._connections.send(method, url, attempts, authorization, headers, body)
        return response

    def attempts(self) -> Attempts:
        """For one thing that is wanted."""
        return self._connections.attempts()

    def drain(self, response: requests.Response, what: str) -> bytes:
        """The whole of a small answer, so that its connection is free again."""
        with response:
            return self._connections.read(response, what)

    def _open(
        self, path: str, what: str, attempts: Attempts, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        response = self.request("GET", path, what, attempts, headers=headers)
        good = (206, 416) if headers and "Range" in headers else ()
        if response.status_code not in (200, 404, *good):
            response.close()
            raise self.bad_status(response, what)
        return response

    def _base(self) -> str:
        """`SCHEME://HOST`."""
        with self._lock:
            if not self._scheme:
                self._scheme = "https" if self._connections.speaks_https() else "http"
        return f"{self._scheme}://{self._host}"

    def bad_status(self, response: requests.Response, what: str) -> DockercError:
        """The sentence for an answer that is of no use."""
        status = response.status_code
        if status in (401, 403):
            return self._login.denied(what, status)
        if status == 429:
            return DockercError(
                f"the registry {self.registry} limits how often it may be asked; try again later"
            )
        later = "; try again later" if status >= 500 else ""
        return DockercError(
            f"the registry {self.registry} answered {status} {str(response.reason)[:200]} for"
            f" {what}{later}"
        )


class _Blob(io.RawIOBase):
    """A blob as a stream that goes on where a broken connection left it."""

    def __init__(
        self,
        client: RegistryClient,
        response: requests.Response,
        attempts: Attempts,
        digest: str,
        size: int,
        what: str,
    ) -> None:
        self._client = client
        self._response = response
        self._attempts = attempts
        self._digest = digest
        self._size = size
        self._what = what
        self._position = 0  # what the reader has
        self._at = 0  # where the response stands, which may have begun anew
        self._worth = _PROGRESS
        self._again = size + _FREE_REPEATS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while True:
            try:
                data = self._read_on(len(view))
            except Interrupted as error:
                if not self._attempts.again(cost=error.cost):
                    raise
            else:
                if data or self._position >= self._size or not self._attempts.again():
                    break
            self._response, self._at = self._client.resume(
                self._response, self._digest, self._position, self._attempts, self._what
            )
            if self._response.status_code in (404, 416):
                return 0  # there is no more of it; whoever verifies will say so
        view[: len(data)] = data
        self._position += len(data)
        if self._position >= self._worth:
            self._attempts.renew()
            self._worth = self._position + _PROGRESS
        return len(data)

    def _read_on(self, size: int) -> bytes:
        """The next bytes; what a server sends over again is passed by."""
        while self._at < self._position:
            again = min(self._position - self._at, _PROGRESS)
            passed = len(self._client.read_part(self._response, again, self._what))
            if not passed:
                return b""
            self._at += passed
            self._again -= passed
            if self._again < 0:
                raise RefusedError(
                    f"{self._what} is sent from its beginning again and again; refusing it"
                )
        data = self._client.read_part(self._response, size, self._what)
        self._at += len(data)
        return data

    def close(self) -> None:
        self._response.close()
        super().close()


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise DamagedError(f"a registry sends us to what is no web address: {url[:200]}") from None
    return parts.scheme, parts.hostname or "", port


def _is_local(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
