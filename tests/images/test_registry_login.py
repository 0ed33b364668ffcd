"""Logins: where they are found, how they are shown, and to whom they are not."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from false_server import Answer
from images_support import (
    FIXTURE,
    Layout,
    LyingRegistry,
    answer,
    lying_registry,
    read_image,
)
from registry_support import (
    IDENTITY,
    PASSWORD,
    USER,
    Closed,
    TokenServer,
)

from toolkit.errors import DockercError, UsageError
from toolkit.images.auth.access import Access, Credentials, parse_credentials
from toolkit.images.auth.credentials import find_credentials

pytestmark = pytest.mark.usefixtures("home")


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, **members: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(members))
    return path


def docker_config(home: Path, **members: object) -> Path:
    return write(home / ".docker" / "config.json", **members)


def found(registry: str = "q.io", repository: str = "team/app") -> tuple[str, str] | None:
    credentials = find_credentials(registry, repository)
    return credentials and (credentials.username, credentials.secret)


# Where they are found


def test_nothing_stored(home: Path) -> None:
    assert found() is None
    docker_config(home, auths={"q.io": {}})
    assert found() is None


def test_files_in_their_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_config(home, auths={"q.io": auth("docker", "1")})
    assert found() == ("docker", "1")
    write(home / "docker" / "config.json", auths={"q.io": auth("moved", "1")})
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "docker"))
    assert found() == ("moved", "1")
    write(home / ".config" / "containers" / "auth.json", auths={"q.io": auth("lasting", "2")})
    assert found() == ("lasting", "2")
    write(home / "run" / "containers" / "auth.json", auths={"q.io": auth("running", "3")})
    assert found() == ("running", "3")
    assert found("other.io") is None
    only = write(home / "only.json", auths={"q.io": auth("only", "4")})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(only))
    assert found() == ("only", "4")
    only.write_text("")
    assert found() is None
    only.unlink()
    with pytest.raises(DockercError, match=r"REGISTRY_AUTH_FILE names .* does not exist"):
        found()


def test_most_particular_key_wins(home: Path) -> None:
    docker_config(
        home,
        auths={
            "q.io": auth("registry", "1"),
            "q.io/team": auth("team", "2"),
            "q.io/team/app": auth("app", "3"),
            "q.io/tea": auth("wrong", "4"),
        },
    )
    assert found(repository="team/app") == ("app", "3")
    assert found(repository="team/other") == ("team", "2")
    assert found(repository="else/app") == ("registry", "1")


@pytest.mark.parametrize("key", ["https://q.io/v1/", "http://q.io", "q.io"])
def test_addresses_as_keys(home: Path, key: str) -> None:
    docker_config(home, auths={key: auth("a", "p:w"), "https://q.io.evil.org/": auth("b", "c")})
    assert found() == ("a", "p:w")
    assert found("io") is None
    docker_config(
        home, auths={"https://q.io.evil.org/": auth("b", "c"), "http://aq.io": auth("d", "e")}
    )
    assert found() is None


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "docker.io/library"]
)
def test_docker_hub_by_all_its_names(home: Path, key: str) -> None:
    docker_config(home, auths={key: auth("hub", "x")})
    assert found("docker.io", "library/debian") == ("hub", "x")
    assert found("q.io", "library/debian") is None


def test_entries_of_other_kinds(home: Path) -> None:
    docker_config(home, auths={"q.io": {"username": "u", "password": "p"}})
    assert found() == ("u", "p")
    docker_config(home, auths={"q.io": {**auth("u", "x\0\0"), "identitytoken": "t"}})
    assert find_credentials("q.io", "a") == Credentials("u", "t", is_identity_token=True)
    docker_config(home, auths={"q.io": auth("u", "x\0\0")})
    assert found() == ("u", "x")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"auths":[]}', '{"auths":{"q.io":{"auth":"c2VjcmV0"}}}',
             '{"auths":{"q.io":{"auth":"?secret"}}}', '{"auths":{"q.io":3}}']
)  # fmt: skip
def test_broken_files_are_named_and_not_shown(home: Path, text: str) -> None:
    path = docker_config(home)
    path.write_text(text)
    with pytest.raises(DockercError, match=str(path)) as caught:
        found()
    assert "secret" not in str(caught.value)


def helper(home: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    path = home / "bin" / f"docker-credential-{name}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")


def test_helpers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    echo = 'read server; [ "$1" = get ] && printf \'{"Username":"%s","Secret":"s"}\' "$server"'
    helper(home, monkeypatch, "test", echo)
    docker_config(home, credHelpers={"q.io": "test"}, auths={"q.io": auth("file", "1")})
    assert found() == ("q.io", "s")
    assert found("p.io") is None
    docker_config(home, credsStore="test", auths={"q.io": {}, "p.io": auth("file", "1")})
    assert found() == ("q.io", "s")
    assert found("p.io") == ("file", "1")
    assert found("docker.io") == ("https://index.docker.io/v1/", "s")
    helper(home, monkeypatch, "test", 'echo \'{"Username":"<token>","Secret":"t"}\'')
    assert find_credentials("q.io", "a") == Credentials("<token>", "t", is_identity_token=True)


def test_helpers_that_fail(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_config(home, credsStore="test")
    with pytest.raises(DockercError, match="docker-credential-test is not installed"):
        found()
    helper(home, monkeypatch, "test", "echo credentials not found in native keychain; exit 1")
    assert found() is None
    for script, sentence in {
        "echo the vault is locked; exit 1": "failed: the vault is locked",
        "exit 3": "failed: no reason given",
        "echo '{\"Secret\": secret}'": "did not answer in JSON",
        "echo '[\"secret\"]'": "did not answer in JSON",
    }.items():
        helper(home, monkeypatch, "test", script)
        with pytest.raises(DockercError, match=sentence) as caught:
            found()
        assert "secret" not in str(caught.value)


def test_credentials_of_the_command_line() -> None:
    assert parse_credentials("u:p:w") == Credentials("u", "p:w")
    assert "p:w" not in repr(Access(parse_credentials("u:p:w")))
    for text in ("user", ":secret", ""):
        with pytest.raises(UsageError, match="USER:PASSWORD") as caught:
            parse_credentials(text)
        assert "secret" not in str(caught.value)


# A real registry with TLS, passwords and tokens


def test_password(password_registry: Closed, home: Path) -> None:
    expected = read_image(f"oci:{FIXTURE}")
    name = f"{password_registry.address}/team/app:1"
    assert read_image(name, access=password_registry.access()) == expected
    anonymous = Access(certificates=password_registry.trusted)
    with pytest.raises(
        DockercError, match=r"denies access to .*log in with `dockerc login localhost"
    ):
        read_image(name, access=anonymous)
    with pytest.raises(DockercError, match="refuses the login of 'anna'") as caught:
        read_image(name, access=password_registry.access("wrong one"))
    assert "wrong one" not in str(caught.value)
    docker_config(home, auths={password_registry.address: auth(USER, PASSWORD)})
    assert read_image(name, access=anonymous) == expected


def test_broken_helper_is_told_where_access_is_denied(
    password_registry: Closed, home: Path
) -> None:
    docker_config(home, credsStore="none-such")
    with pytest.raises(DockercError, match=r"denies .*\(the credential helper .* not installed\)"):
        read_image(
            f"{password_registry.address}/team/app:1",
            access=Access(certificates=password_registry.trusted),
        )


def test_token_for_a_password(token_registry: Closed, tokens: TokenServer) -> None:
    expected = read_image(f"oci:{FIXTURE}")
    name = f"{token_registry.address}/team/app:1"
    tokens.requests.clear()
    assert read_image(name, access=token_registry.access()) == expected
    assert tokens.requests == ["password"]
    with pytest.raises(DockercError, match="refuses the login of 'anna'") as caught:
        read_image(name, access=token_registry.access("wrong one"))
    assert "wrong one" not in str(caught.value)


def test_token_for_nobody(token_registry: Closed, tokens: TokenServer) -> None:
    anonymous = Access(certificates=token_registry.trusted)
    expected = read_image(f"oci:{FIXTURE}")
    assert read_image(f"{token_registry.address}/open/app:1", access=anonymous) == expected
    with pytest.raises(DockercError, match=r"denies access .*is not public"):
        read_image(f"{token_registry.address}/team/app:1", access=anonymous)


def test_token_for_an_identity_token(
    token_registry: Closed, tokens: TokenServer, home: Path
) -> None:
    anonymous = Access(certificates=token_registry.trusted)
    name = f"{token_registry.address}/team/app:1"
    docker_config(home, auths={token_registry.address: {"identitytoken": IDENTITY}})
    tokens.requests.clear()
    assert read_image(name, access=anonymous) == read_image(f"oci:{FIXTURE}")
    assert tokens.requests == ["identity"]
    docker_config(home, auths={token_registry.address: {"identitytoken": "revoked one"}})
    with pytest.raises(DockercError, match="refuses the login") as caught:
        read_image(name, access=anonymous)
    assert "revoked one" not in str(caught.value)


# To whom they are not shown


@pytest.fixture
def thief(layout: Layout) -> Iterator[LyingRegistry]:
    """Another host: what it is sent besides a path is a leak."""
    with lying_registry(layout.path) as registry:
        registry.address = f"localhost:{registry.address.rpartition(':')[2]}"
        yield registry


def asking(registry: LyingRegistry, challenge: str, good: str) -> None:
    """Has a registry ask for a login, and be content with the header `good`."""
    serve = registry._serve

    def guarded(request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("Authorization") == good:
            serve(request)
        else:
            answer(401, b"{}", {"WWW-Authenticate": challenge})(request)

    registry._serve = guarded  # type: ignore[method-assign]


GIVEN = Access(Credentials("u", "secret"))
BASIC = f"Basic {base64.b64encode(b'u:secret').decode()}"


def test_login_is_shown_only_when_asked_for(liar: LyingRegistry) -> None:
    read_image(f"{liar.address}/app", access=GIVEN)
    assert {header for _, header in liar.requests} == {None}


def test_password_does_not_follow_a_redirect(liar: LyingRegistry, thief: LyingRegistry) -> None:
    asking(liar, 'Basic realm="x"', BASIC)
    serve = liar._serve

    def elsewhere(request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("Authorization") and "/blobs/" in request.path:
            answer(307, b"", {"Location": f"http://{thief.address}{request.path}"})(request)
        else:
            serve(request)

    liar._serve = elsewhere  # type: ignore[method-assign]
    read_image(f"{liar.address}/app", access=GIVEN)
    assert len(thief.requests) == 2
    assert {header for _, header in thief.requests} == {None}


def test_challenge_of_another_host_is_not_answered(
    liar: LyingRegistry, thief: LyingRegistry
) -> None:
    """A storage host could else name a token server of its own, and be sent the password."""
    path = "/v2/app/manifests/latest"
    liar.answers[path] = answer(307, b"", {"Location": f"http://{thief.address}{path}"})
    challenge = f'Bearer realm="http://{thief.address}/token"'
    thief.answers[path] = answer(401, b"{}", {"WWW-Authenticate": challenge})
    with pytest.raises(DockercError, match="denies access"):
        read_image(f"{liar.address}/app", access=GIVEN)
    assert thief.requests == [(path, None)]


def test_identity_token_does_not_follow_a_redirect(
    liar: LyingRegistry, thief: LyingRegistry
) -> None:
    asking(liar, f'Bearer realm="http://{liar.address}/token"', "Bearer good")
    liar.answers["/token"] = answer(307, b"", {"Location": f"http://{thief.address}/token"})
    access = Access(Credentials("u", "secret", is_identity_token=True))
    with pytest.raises(DockercError, match="answered 307"):
        read_image(f"{liar.address}/app", access=access)
    assert thief.requests == []


def test_netrc_is_not_read(
    liar: LyingRegistry, thief: LyingRegistry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody said that it is for containers. Through no_proxy, so that requests looks around."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("toolkit.images.transports.registry.client._is_local", lambda host: False)
    (home / ".netrc").write_text("default login u password secret\n")
    path = "/v2/app/manifests/latest"
    liar.answers[path] = answer(307, b"", {"Location": f"http://{thief.address}{path}"})
    read_image(f"{liar.address}/app", access=Access(tls_verify=False))
    assert {header for _, header in liar.requests + thief.requests} == {None}


@pytest.mark.parametrize(
    "reply", [answer(401, b"secret"), answer(500, b"secret"), answer(200, b'"secret')]
)
def test_what_a_server_repeats_is_not_shown(liar: LyingRegistry, reply: Answer) -> None:
    asking(liar, f'Bearer realm="http://{liar.address}/token"', "Bearer good")
    liar.answers["/token"] = reply
    with pytest.raises(DockercError) as caught:
        read_image(f"{liar.address}/app", access=GIVEN)
    assert "secret" not in str(caught.value)
