"""HTTP to a registry and to the hosts that it names, and what fails there as sentences.

Why requests: what a registry client needs beyond HTTP is redirects that drop credentials on
another host, proxies by environment and `no_proxy`, and custom CA bundles; requests has all of it
and every distribution packages it. httpx wants four more packages for HTTP/2, which registries'
storage back ends hardly speak, and is slower on large bodies; bare urllib3 lacks the proxy and
CA rules; oras downloads to files and checks no digest while streaming. Its retries (urllib3's
`Retry`) end where a body begins and cannot be interrupted, so `retry` has ours.
"""

from __future__ import annotations

import contextlib
import io
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from toolkit.errors import DamagedError, DockercError, RefusedError
from toolkit.images.auth.certificates import Trust
from toolkit.images.transports.registry import wire
from toolkit.images.transports.registry.retry import TRANSIENT, Attempts
from toolkit.images.transports.registry.sockets import Limit, Sockets
from toolkit.images.transports.registry.wire import (
    CONNECT_TIMEOUT,
    PIECE,
    READ_TIMEOUT,
    pool_classes,
)
from toolkit.limits import MAX_DOCUMENT
from toolkit.version import __version__

_DOCUMENT_TIMEOUT = 300.0  # seconds for a whole one
_REDIRECT_LIMIT = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Interrupted(DockercError):
    """The network or a server failed in a way that may pass. `cost` is for `Attempts.again`."""

    cost = 1


class Stalled(Interrupted):
    """Nothing came until a timeout."""

    cost = 2


class _Adapter(HTTPAdapter):
    """Trusts the system's certificates beside certifi's, as docker does: companies add theirs."""

    def __init__(self, context: ssl.SSLContext, sockets: Sockets) -> None:
        self._context = context
        self._classes = pool_classes(sockets)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._classes

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)
        manager.pool_classes_by_scheme = self._classes
        return manager


class _Session(requests.Session):
    """Sees no redirects: whether it follows them or not, requests reads their bodies."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Authorization(requests.auth.AuthBase):
    """The header, or nothing; being given at all, it keeps requests from reading ~/.netrc."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value:
            request.headers["Authorization"] = self._value
        return request


class Connections:
    """Safe to use from several threads: each has its own session, whose connections it reuses."""

    def __init__(self, registry: str, host: str, trust: Trust, *, use_proxy: bool) -> None:
        self._registry = registry
        self._host = host
        self._trust = trust
        self._use_proxy = use_proxy
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._stopped = threading.Event()
        self._sockets = Sockets()
        self._is_verified = trust.anywhere.verify_mode != ssl.CERT_NONE
        if not self._is_verified:
            # The user has asked for it; to be told so at each request is no help.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def attempts(self) -> Attempts:
        return Attempts(self._stopped)

    def close(self) -> None:
        """Ends all connections, whoever waits on them, and the pauses before further attempts."""
        self._stopped.set()
        self._sockets.stop()
        for session in list(self._sessions):
            session.close()

    def send(
        self,
        method: str,
        url: str,
        attempts: Attempts,
        authorization: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> requests.Response:
        """The answer, its body unread and not decoded, whatever its status. What may pass is
        tried again. Raises DockercError when no answer can be had."""
        given = dict(headers or {})
        return self._request(method, url, attempts, auth=authorization, headers=given, body=body)

    def get(
        self, url: str, attempts: Attempts, authorization: str | None = None
    ) -> requests.Response:
        """The same for what is read."""
        return self.send("GET", url, attempts, authorization)

    def post(self, url: str, attempts: Attempts, form: Mapping[str, str]) -> requests.Response:
        """The same for a form. It may hold a secret, and so follows no redirect."""
        return self._request("POST", url, attempts, data=dict(form))

    def _request(
        self, method: str, url: str, attempts: Attempts, auth: str | None = None, **options: Any
    ) -> requests.Response:
        body = options.pop("body", None)
        while True:
            if body is not None:
                # A stream is sent in small pieces, each of which has the timeout to itself.
                options["data"] = io.BytesIO(body)
            try:
                response = self._send(method, url, auth, options)
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                failure = self._failure(error)
                if isinstance(failure, Interrupted) and attempts.again(cost=failure.cost):
                    continue
                raise failure from error
            if response.status_code in TRANSIENT:
                response.close()
                if attempts.again(response.headers.get("Retry-After")):
                    continue
            return response

    def _send(
        self, method: str, url: str, auth: str | None, options: dict[str, Any]
    ) -> requests.Response:
        """One attempt, a GET's redirects followed.

        By ourselves: requests would read their bodies, which may have no end, and go from https to
        http. The authorization is for the first host alone.
        """
        history: list[requests.Response] = []
        session = self._session()
        while True:
            response = session.request(
                method,
                url,
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                auth=_Authorization(auth),
                stream=True,
                # Given with each request, for $REQUESTS_CA_BUNDLE overrides the session's.
                verify=self._is_verified,
                **options,
            )
            target = response.headers.get("Location")
            if method != "GET" or not target or response.status_code not in _REDIRECTS:
                response.history = history
                return response
            response.close()
            history.append(response)
            if len(history) > _REDIRECT_LIMIT:
                raise requests.TooManyRedirects
            following = urljoin(url, target)
            self.check_redirect(url, following)
            if session.should_strip_auth(url, following):  # type: ignore[no-untyped-call]
                auth = None
            url = following

    def check_redirect(self, url: str, following: str) -> None:
        """Raises DockercError unless whoever is at `url` may be sent on to there."""
        schemes = urlsplit(url).scheme, urlsplit(following).scheme
        if schemes[1] not in ("http", "https"):
            raise DamagedError(
                f"cannot reach the registry {self._registry}: it redirects to what is no web"
                " address"
            )
        if schemes == ("https", "http") and self._is_verified:
            raise RefusedError(
                f"the registry {self._registry} redirects from https to plain http, where anybody"
                " on the way can read along; --no-tls-verify would allow it"
            )

    def speaks_https(self) -> bool:
        """Whether the registry's host does. Raises DockercError when there is no telling."""
        try:
            self._session().get(
                f"https://{self._host}/v2/",
                timeout=(CONNECT_TIMEOUT, CONNECT_TIMEOUT),
                stream=True,
                auth=_Authorization(None),
                verify=self._is_verified,
            ).close()
        except (requests.ConnectionError, requests.Timeout) as error:
            # A certificate that fails, ours or theirs, is https all the same; the request proper
            # will say so.
            cause = _cause(error)
            return isinstance(cause, ssl.SSLError) and (
                isinstance(cause, ssl.SSLCertVerificationError) or _is_alert(cause)
            )
        except requests.RequestException as error:
            raise self._failure(error) from error
        return True

    def read(self, response: requests.Response, where: str) -> bytes:
        """A whole document. Raises DockercError when it is cut, stalls or is larger than 4 MiB."""
        data = bytearray()
        end = time.monotonic() + _DOCUMENT_TIMEOUT
        # Only the read after the last byte tells a cut body from a whole one.
        while part := self.read_part(response, MAX_DOCUMENT + 1, where):
            data += part
            if len(data) > MAX_DOCUMENT:
                raise RefusedError(f"{where} is larger than {MAX_DOCUMENT} bytes; refusing it")
            if time.monotonic() > end:
                raise RefusedError(f"{where} takes longer than {_DOCUMENT_TIMEOUT:.0f} seconds")
        return bytes(data)

    def read_part(self, response: requests.Response, size: int, where: str) -> bytes:
        """At most `size` bytes of a body, none at its end. Raises Interrupted when it is cut."""
        sentence = f"{where} did not arrive whole from {self._registry}"
        source = getattr(response.raw, "_original_response", None)
        with contextlib.ExitStack() as stack:
            limit: Limit | None = None
            if isinstance(source, wire.Response):
                limit = stack.enter_context(self._sockets.limit(source.held, READ_TIMEOUT))
            try:
                data: bytes = response.raw.read(min(size, PIECE))
                if limit is None or not limit.expired:
                    return data
            except (urllib3.exceptions.HTTPError, OSError, AttributeError, ValueError) as error:
                # The latter two are urllib3's where `close` came from another thread.
                stalled = isinstance(error, urllib3.exceptions.ReadTimeoutError)
                if not stalled and (limit is None or not limit.expired):
                    raise Interrupted(f"{sentence}: the connection was cut; try again") from error
        raise Stalled(f"{sentence}: no data for {READ_TIMEOUT:.0f} seconds, or hardly any")

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = _Session()
            for prefix in ("http://", "https://"):
                session.mount(prefix, _Adapter(self._trust.anywhere, self._sockets))
            own = _Adapter(self._trust.registry, self._sockets)
            session.mount(f"https://{self._host}/", own)
            session.headers["User-Agent"] = f"dockerc/{__version__}"
            # Blobs are checked as they are stored; a transport encoding would only be in the way.
            session.headers["Accept-Encoding"] = "identity"
            session.trust_env = self._use_proxy
            self._local.session = session
            self._sessions.append(session)
        return session

    def _failure(self, error: Exception) -> DockercError:
        if isinstance(error, requests.TooManyRedirects):
            return DockercError(f"the registry {self._registry} redirects without end")
        cause = _cause(error)
        host = self._host
        if isinstance(error, requests.RequestException) and error.request and error.request.url:
            host = urlsplit(error.request.url).netloc
        if isinstance(error, requests.exceptions.ProxyError):
            return DockercError(f"the proxy for {host} cannot be used: {_reason(cause)}")
        if isinstance(cause, ssl.SSLCertVerificationError):
            return DockercError(
                f"the certificate of {host} is not trusted: {cause.verify_message}; "
                f"add its authority to the system's certificates or name it by --cert-dir"
            )
        if isinstance(cause, ssl.SSLError) and _is_alert(cause) and "CERT" in (cause.reason or ""):
            return DockercError(
                f"{host} wants another certificate of ours ({cause.reason}): put one as *.cert "
                f"with its *.key into the directory that --cert-dir names"
            )
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return DockercError(
                f"{host} does not speak TLS as it should: {cause.reason or cause}; plain http is "
                f"used for localhost, and elsewhere with --no-tls-verify only"
            )
        if isinstance(error, requests.Timeout) or isinstance(cause, TimeoutError):
            return Stalled(f"the registry {host} does not answer in time; try again later")
        sentence = f"cannot reach the registry {host}: {_reason(cause)}"
        if isinstance(cause, ConnectionRefusedError) or not isinstance(cause, ConnectionError):
            return DockercError(sentence)
        return Interrupted(sentence)


def _reason(cause: BaseException) -> str:
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause)


def _is_alert(error: ssl.SSLError) -> bool:
    """Whether the server broke the handshake off, as only one that speaks TLS does."""
    return "ALERT" in (error.reason or "")


def _cause(error: BaseException) -> BaseException:
    """What lies under the wrappers of requests and urllib3."""
    cause = error
    while isinstance(cause, requests.RequestException | urllib3.exceptions.HTTPError):
        inner = cause.__cause__ or cause.__context__ or next(iter(cause.args), None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return cause
