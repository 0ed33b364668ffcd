"""What a registry is shown of the user: nothing, a password, or a token bought with one.

The distribution project's specifications: "Token Authentication", and "OAuth2 Token
Authentication" for identity tokens.
"""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from urllib.parse import urlsplit

import requests

from toolkit.errors import DamagedError, DockercError, RefusedError
from toolkit.files.json_document import parse_document
from toolkit.images.auth.access import Credentials
from toolkit.images.auth.credentials import find_credentials
from toolkit.images.reference import RegistryReference
from toolkit.images.transports.registry.challenge import Challenge, parse_challenge
from toolkit.images.transports.registry.connections import Connections

_CLIENT_ID = "dockerc"


class Login:
    """The `Authorization` for one repository, shared by all threads.

    Credentials are looked for when the registry first asks: a public image starts no helper.
    """

    def __init__(
        self,
        connections: Connections,
        reference: RegistryReference,
        given: Credentials | None,
        *,
        allow_http: bool,
        authfile: Path | None,
    ) -> None:
        self._connections = connections
        self._registry = reference.registry
        self._repository = reference.repository
        self._given = given
        self._allow_http, self._authfile = allow_http, authfile
        self._lock = threading.Lock()
        self._trouble = ""
        self.authorization: str | None = None

    def renew(self, used: str | None, header: str, what: str) -> str:
        """An authorization that is not `used`: another thread's, or a new one for the challenge.

        Raises DockercError when it cannot be had.
        """
        with self._lock:
            if self.authorization is None or self.authorization == used:
                self.authorization = self._answer(parse_challenge(header), used, what)
            return self.authorization

    def denied(self, what: str, status: int = 403) -> DockercError:
        """The sentence for an access that is refused."""
        if not self._repository:
            return self._refused()
        if status == 401 and (self.authorization or "").startswith("Basic "):
            return self._refused()
        if self._given:
            hint = f"{self._repository} does not exist there or not for this login"
        else:
            hint = (
                f"{self._repository} does not exist there or is not public; "
                f"log in with `dockerc login {self._registry}`, or use --creds"
            )
        trouble = f" ({self._trouble})" if self._trouble else ""
        return RefusedError(
            f"the registry {self._registry} denies access to {what}: {hint}{trouble}"
        )

    def _answer(self, challenge: Challenge, used: str | None, what: str) -> str:
        if self._given is None and not self._trouble:
            try:
                self._given = find_credentials(self._registry, self._repository, self._authfile)
            except DockercError as error:
                # A broken helper must not keep anyone from a public image.
                self._trouble = str(error)
        if challenge.scheme == "basic":
            if self._given is None or self._given.is_identity_token:
                raise self.denied(what)
            answer = _basic(self._given)
            if answer == used:
                raise self._refused()
            return answer
        realm = challenge.parameters.get("realm", "")
        if challenge.scheme != "bearer" or not realm.startswith(("https://", "http://")):
            raise self.denied(what)
        if realm.startswith("http://") and not self._allow_http:
            raise RefusedError(
                f"the registry {self._registry} wants a token from {realm}, which is not https"
            )
        return f"Bearer {self._fetch_token(realm, challenge, what)}"

    def _fetch_token(self, realm: str, challenge: Challenge, what: str) -> str:
        try:
            host = urlsplit(realm).netloc
            asked = self._ask(realm, challenge)
        except (ValueError, requests.RequestException):
            raise DamagedError(
                f"the registry {self._registry} names a token server that is no web address:"
                f" {realm[:200]}"
            ) from None
        with asked as response:
            if response.status_code in (400, 401, 403, 404):
                raise self._refused() if self._given else self.denied(what)
            if response.status_code != 200:
                raise DockercError(
                    f"{host} answered {response.status_code} {str(response.reason)[:200]} for a"
                    " token; try again later"
                )
            where = f"the token of {host}"
            answer = parse_document(self._connections.read(response, where), where)
        token = answer.text("token") or answer.text("access_token")
        if not token or not token.isprintable() or not token.isascii():
            raise DamagedError(f"{where} is malformed: it holds no token")
        return token

    def _ask(self, realm: str, challenge: Challenge) -> requests.Response:
        fields = {"service": challenge.parameters.get("service") or self._registry}
        pull = f"repository:{self._repository}:pull" if self._repository else ""
        if scope := challenge.parameters.get("scope") or pull:
            fields["scope"] = scope
        attempts = self._connections.attempts()
        if self._given and self._given.is_identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": self._given.secret}
            return self._connections.post(
                realm, attempts, {**form, **fields, "client_id": _CLIENT_ID}
            )
        if self._given:
            fields["account"] = self._given.username
        url = requests.Request("GET", realm, params=fields).prepare().url or realm
        return self._connections.get(url, attempts, _basic(self._given) if self._given else None)

    def _refused(self) -> DockercError:
        user = self._given.username if self._given else ""
        return RefusedError(f"the registry {self._registry} refuses the login of '{user}'")


def _basic(credentials: Credentials) -> str:
    """RFC 7617, in UTF-8."""
    pair = f"{credentials.username}:{credentials.secret}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
