"""HTTP to one repository of a registry: addresses, tokens, and errors as sentences.

Why requests: what a registry client needs beyond HTTP is redirects that drop credentials on
another host, proxies by environment and `no_proxy`, and custom CA bundles; requests has all of it
and every distribution packages it. httpx wants four more packages for HTTP/2, which registries'
storage back ends hardly speak, and is slower on large bodies; bare urllib3 lacks the proxy and
CA rules; oras downloads to files and checks no digest while streaming.
"""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from toolkit.errors import DockercError
from toolkit.images.challenge import parse_challenge
from toolkit.images.document import parse_document
from toolkit.images.manifest import DOCUMENT_LIMIT
from toolkit.version import __version__

CONNECT_TIMEOUT = 15.0  # seconds
READ_TIMEOUT = 60.0  # seconds without a byte
_REDIRECT_LIMIT = 5
# Docker Hub's API lives at another host than its name (distribution, reference/normalize.go and
# docker's registry/config.go).
_HOSTS = {"docker.io": "registry-1.docker.io"}


class _SystemTrust(HTTPAdapter):
    """Trusts the system's certificates beside certifi's, as docker does: companies add theirs."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)


class _Bearer(requests.auth.AuthBase):
    """The token, or nothing; being given at all, it keeps requests from reading ~/.netrc."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class RegistryClient:
    """Requests under `/v2/REPOSITORY/`. Safe to use from several threads: each answer has its own
    session and connection, the token alone is shared."""

    def __init__(self, registry: str, repository: str) -> None:
        self.registry = registry
        self.repository = repository
        self._host = _HOSTS.get(registry, registry)
        self._is_local = _is_local(self._host)
        self._scheme = "" if self._is_local else "https"
        self._token: str | None = None
        self._lock = threading.Lock()
        self._context = ssl.create_default_context()  # shared: making one takes 20 ms

    @contextmanager
    def get(
        self, path: str, what: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """GETs `/v2/REPOSITORY/PATH`; the body is unread and not decoded.

        `what` names the thing in errors. Raises DockercError for whatever fails, save 404, which
        only the caller can explain.
        """
        with self._session() as session:
            url = f"{self._base()}/v2/{self.repository}/{path}"
            token = self._token
            response = self._send(session, url, token, headers)
            if response.status_code == 401:
                challenge = response.headers.get("WWW-Authenticate", "")
                response.close()
                response = self._send(session, url, self._renew(token, challenge, what), headers)
            with response:
                self._check(response, what)
                yield response

    def _session(self) -> requests.Session:
        session = requests.Session()
        session.mount("https://", _SystemTrust(self._context))
        session.max_redirects = _REDIRECT_LIMIT
        session.headers["User-Agent"] = f"dockerc/{__version__}"
        # Blobs are checked as they are stored; a transport encoding would only be in the way.
        session.headers["Accept-Encoding"] = "identity"
        # Go's tools never send requests for this machine to a proxy.
        session.trust_env = not self._is_local
        return session

    def _base(self) -> str:
        """`SCHEME://HOST`. A registry on this machine may speak plain http, as docker allows."""
        with self._lock:
            if not self._scheme:
                self._scheme = "https" if self._speaks_https() else "http"
        return f"{self._scheme}://{self._host}"

    def _speaks_https(self) -> bool:
        try:
            with self._session() as session:
                session.get(
                    f"https://{self._host}/v2/",
                    timeout=(CONNECT_TIMEOUT, CONNECT_TIMEOUT),
                    allow_redirects=False,
                    stream=True,
                    auth=_Bearer(None),
                ).close()
        except (requests.ConnectionError, requests.Timeout) as error:
            # A certificate that fails is https all the same; the request proper will say so.
            return isinstance(_cause(error), ssl.SSLCertVerificationError)
        except requests.RequestException as error:
            raise self._failure(error) from error
        return True

    def _send(
        self,
        session: requests.Session,
        url: str,
        token: str | None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        try:
            return session.get(
                url,
                headers=dict(headers or {}),
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                auth=_Bearer(token),
                stream=True,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> DockercError:
        if isinstance(error, requests.TooManyRedirects):
            return DockercError(f"the registry {self.registry} redirects without end")
        cause = _cause(error)
        host = self._host
        if isinstance(error, requests.RequestException) and error.request and error.request.url:
            host = urlsplit(error.request.url).netloc
        if isinstance(cause, ssl.SSLCertVerificationError):
            return DockercError(
                f"the certificate of {host} is not trusted: {cause.verify_message}; "
                f"add its authority to the system's certificates or set SSL_CERT_FILE"
            )
        if isinstance(cause, ssl.SSLError):
            return DockercError(
                f"{host} does not speak TLS as it should: {cause.reason or cause}; "
                f"plain http is used for localhost only"
            )
        if isinstance(error, requests.Timeout) or isinstance(cause, TimeoutError):
            return DockercError(f"the registry {host} does not answer in time; try again later")
        reason = (cause.strerror if isinstance(cause, OSError) else None) or str(cause)
        return DockercError(f"cannot reach the registry {host}: {reason}")

    def _renew(self, used: str | None, header: str, what: str) -> str:
        """A token that is not `used`: that of another thread, or a new one for the challenge."""
        with self._lock:
            if self._token is None or self._token == used:
                self._token = self._fetch_token(header, what)
            return self._token

    def _fetch_token(self, header: str, what: str) -> str:
        challenge = parse_challenge(header)
        realm = challenge.parameters.get("realm", "")
        if challenge.scheme == "basic":
            raise DockercError(
                f"the registry {self.registry} asks for a login for {what}, and dockerc does not "
                f"log in yet: copy the image with 'skopeo copy' to oci:DIR and name that"
            )
        if challenge.scheme != "bearer" or not realm.startswith(("https://", "http://")):
            raise self._denied(what)
        if realm.startswith("http://") and not self._is_local:
            raise DockercError(
                f"the registry {self.registry} wants a token from {realm}, which is not https"
            )
        url = requests.Request(
            "GET",
            realm,
            params={
                "service": challenge.parameters.get("service"),
                "scope": challenge.parameters.get("scope") or f"repository:{self.repository}:pull",
            },
        )
        with self._session() as session:
            prepared = url.prepare().url or realm
            with self._send(session, prepared, None) as response:
                if response.status_code in (400, 401, 403, 404):
                    raise self._denied(what)
                self._check(response, f"a token for {what}")
                where = f"the token of {urlsplit(realm).netloc}"
                answer = parse_document(self.read(response, where), where)
        token = answer.text("token") or answer.text("access_token")
        if not token or not token.isprintable() or not token.isascii():
            raise DockercError(f"{where} is malformed: it holds no token")
        return token

    def _denied(self, what: str) -> DockercError:
        return DockercError(
            f"the registry {self.registry} denies access to {what}: "
            f"{self.repository} does not exist there or is not public"
        )

    def _check(self, response: requests.Response, what: str) -> None:
        status = response.status_code
        if status in (200, 404):
            return
        if status in (401, 403):
            raise self._denied(what)
        if status == 429:
            raise DockercError(
                f"the registry {self.registry} limits how often it may be asked; try again later"
            )
        later = "; try again later" if status >= 500 else ""
        raise DockercError(
            f"the registry {self.registry} answered {status} {response.reason} for {what}{later}"
        )

    def read(self, response: requests.Response, where: str) -> bytes:
        """A whole document. Raises DockercError when it is cut, stalls or is larger than 4 MiB."""
        data = bytearray()
        try:
            # Only the read after the last byte tells a cut body from a whole one.
            while part := response.raw.read(DOCUMENT_LIMIT + 1):
                data += part
                if len(data) > DOCUMENT_LIMIT:
                    raise DockercError(
                        f"{where} is larger than {DOCUMENT_LIMIT} bytes; refusing it"
                    )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self.cut(error, where) from error
        return bytes(data)

    def cut(self, error: Exception, where: str) -> DockercError:
        """The sentence for a body that broke off."""
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            reason = f"no data for {READ_TIMEOUT:.0f} seconds"
        else:
            reason = "the connection was cut"
        return DockercError(
            f"{where} did not arrive whole from {self.registry}: {reason}; try again"
        )


def _is_local(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _cause(error: BaseException) -> BaseException:
    """What lies under the wrappers of requests and urllib3."""
    cause = error
    while True:
        inner = cause.__cause__ or cause.__context__
        if inner is None or not isinstance(
            cause, requests.RequestException | urllib3.exceptions.HTTPError
        ):
            return cause
        cause = inner
