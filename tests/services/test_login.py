"""login, logout and tags: judged by docker, podman and skopeo, each of which reads the others'."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from images_support import LyingRegistry, answer, docker_registry, skopeo_copy, tool
from registry_support import (
    PASSWORD,
    USER,
    Closed,
    TokenServer,
    conf,
)
from support import FIXTURES, TOOL, dockerc, failed

from toolkit.images.transports.registry import tags as listing


@pytest.fixture
def closed(password_registry: Closed) -> Closed:
    return password_registry


@pytest.fixture(autouse=True)
def runtime_directory(home: Path) -> None:
    (home / "run").mkdir()


def words(registry: Closed) -> list[str | Path]:
    return ["-u", USER, "--password-stdin", "--cert-dir", registry.trusted, registry.address]


def other(*command: str | Path, password: str = "") -> str:
    """What docker, podman or skopeo says."""
    tool(str(command[0]))
    done = subprocess.run(
        [str(word) for word in command], input=password, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def config(home: Path) -> Path:
    return home / ".docker" / "config.json"


# What we keep, and others read


def test_a_login_is_kept_for_all(closed: Closed, home: Path) -> None:
    told = dockerc("login", *words(closed), input=f"{PASSWORD}\n").stdout
    assert told == f"logged in to {closed.address} as anna; kept in {config(home)}\n"
    assert stat.S_IMODE(config(home).stat().st_mode) == 0o600
    assert stat.S_IMODE(config(home).parent.stat().st_mode) == 0o700
    for judge in ("podman", "skopeo"):
        assert other(judge, "login", "--get-login", closed.address) == USER
    listed = other("skopeo", "list-tags", "--cert-dir", closed.trusted,
                   f"docker://{closed.address}/team/app")  # fmt: skip
    ours = dockerc("tags", "--cert-dir", closed.trusted, f"{closed.address}/team/app").stdout
    assert ours.split() == json.loads(listed)["Tags"] == ["1"]
    assert dockerc("login", "--get-login", closed.address).stdout == f"{USER}\n"


def test_a_login_that_is_refused_is_not_kept(closed: Closed, home: Path) -> None:
    said = failed("login", *words(closed), input="wrong one")
    assert f"{closed.address} refuses the login of 'anna'" in said and "wrong" not in said
    assert not config(home).exists()


def test_a_token_server_is_asked(token_registry: Closed, tokens: TokenServer, home: Path) -> None:
    tokens.requests.clear()
    assert "refuses the login" in failed("login", *words(token_registry), input="wrong one")
    assert not config(home).exists()
    dockerc("login", *words(token_registry), input=PASSWORD)
    assert tokens.requests == ["password", "password"]
    assert other("podman", "login", "--get-login", token_registry.address) == USER


def test_all_else_in_the_file_stays(closed: Closed, home: Path) -> None:
    config(home).parent.mkdir()
    before: dict[str, Any] = {
        "auths": {"q.io": {"auth": "eDp5", "email": "é"}, closed.address: {"auth": "b2xkOm9sZA=="},
                  f"https://{closed.address}/v1/": {"auth": "b2xkOm9sZA=="}},
        "HttpHeaders": {"A": "b"}, "psFormat": "table", "detachKeys": "ctrl-e", "n": [1, None, 1.5],
    }  # fmt: skip
    config(home).write_text(json.dumps(before))
    config(home).chmod(0o644)
    dockerc("login", *words(closed), input=PASSWORD)
    after = json.loads(config(home).read_text())
    assert {**after, "auths": 0} == {**before, "auths": 0}
    assert list(after["auths"]) == ["q.io", closed.address]
    assert after["auths"]["q.io"] == before["auths"]["q.io"]
    assert stat.S_IMODE(config(home).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"auths": []}', '{"auths": {}, "credHelpers": {"q.io": 1}}', "\xff",
             '{"auths": {}, "credsStore": 7}']
)  # fmt: skip
def test_what_is_not_understood_is_not_written_over(closed: Closed, home: Path, text: str) -> None:
    config(home).parent.mkdir()
    config(home).write_bytes(text.encode("latin-1"))
    assert str(config(home)) in failed("login", *words(closed), input=PASSWORD)
    assert str(config(home)) in failed("logout", closed.address)
    assert config(home).read_bytes() == text.encode("latin-1")
    assert list(config(home).parent.iterdir()) == [config(home)]


def test_another_file(closed: Closed, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = home / "new" / "auth.json"
    dockerc("login", "--authfile", mine, *words(closed), input=PASSWORD)
    assert not config(home).exists()
    assert other("podman", "login", "--authfile", mine, "--get-login", closed.address) == USER
    name = f"{closed.address}/team/app"
    assert dockerc("tags", "--cert-dir", closed.trusted, "--authfile", mine, name).stdout == "1\n"
    assert "denies access" in failed("tags", "--cert-dir", closed.trusted, name)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(mine))
    assert dockerc("tags", "--cert-dir", closed.trusted, name).stdout == "1\n"
    dockerc("logout", closed.address)
    assert "no login" in failed("login", "--get-login", closed.address)
    assert "does not exist" in failed("logout", "--authfile", home / "none", closed.address)


def test_docker_hub_has_its_key_in_docker_s_file(home: Path) -> None:
    """Without asking it: what is checked is where a login goes, and that all names find it."""
    from toolkit.images.auth.access import Credentials
    from toolkit.images.auth.stored_login import erase_login, store_login

    store_login("docker.io", Credentials("u", "p"))
    assert list(json.loads(config(home).read_text())["auths"]) == ["https://index.docker.io/v1/"]
    mine = home / "mine.json"
    store_login("docker.io", Credentials("u", "p"), mine)
    assert list(json.loads(mine.read_text())["auths"]) == ["docker.io"]
    for judge in ("podman", "skopeo"):
        assert other(judge, "login", "--get-login", "docker.io") == "u"
        assert other(judge, "login", "--authfile", mine, "--get-login", "docker.io") == "u"
    for name in ("docker.io", "https://index.docker.io/v1/", "index.docker.io"):
        assert dockerc("login", "--get-login", name).stdout == "u\n"
    assert erase_login("docker.io") == [str(config(home))]


# What others keep, and we read


@pytest.mark.parametrize("judge", ["docker", "podman", "skopeo"])
def test_logins_of_others(closed: Closed, home: Path, judge: str) -> None:
    options = [] if judge == "docker" else ["--cert-dir", closed.trusted]
    command = [judge, "login", "-u", USER, "--password-stdin", *options, closed.address]
    other(*command, password=PASSWORD)
    assert dockerc("login", "--get-login", closed.address).stdout == f"{USER}\n"
    name = f"{closed.address}/team/app"
    assert dockerc("tags", "--cert-dir", closed.trusted, name).stdout == "1\n"
    # Where a login is already, the new one goes.
    kept = dockerc("login", *words(closed), input=PASSWORD).stdout
    assert (str(config(home)) in kept) == (judge == "docker")
    assert "removed from" in dockerc("logout", closed.address).stdout
    assert "denies access" in failed("tags", "--cert-dir", closed.trusted, name)
    if judge != "docker":
        assert subprocess.run([judge, "login", "--get-login", closed.address]).returncode != 0


def test_a_helper_keeps_what_docker_s_file_says(
    closed: Closed, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = home / "vault"
    program = home / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\ncase $1 in store) cat > {vault};; erase) rm {vault};;\n"
        f"get) cat {vault} 2>/dev/null || {{ echo credentials not found in it; exit 1; }};; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    config(home).parent.mkdir()
    for members in ({"credsStore": "test"}, {"credHelpers": {closed.address: "test"}}):
        config(home).write_text(json.dumps(members))
        told = dockerc("login", *words(closed), input=PASSWORD).stdout
        assert told.endswith("kept in docker-credential-test\n")
        assert PASSWORD not in config(home).read_text() and "YW5" not in config(home).read_text()
        assert json.loads(vault.read_text())["ServerURL"] == closed.address
        assert dockerc("login", "--get-login", closed.address).stdout == f"{USER}\n"
        if "credHelpers" in members:  # podman knows no credsStore
            assert other("podman", "login", "--get-login", closed.address) == USER
        assert "docker-credential-test" in dockerc("logout", closed.address).stdout
        assert not vault.exists()
        assert "there is no login for" in failed("logout", closed.address)


# At a terminal


def at_a_terminal(closed: Closed, *typed: tuple[str, str]) -> tuple[int, str]:
    """Status, and all that is shown, of a login where each text is typed when it is asked for."""
    pid, terminal = pty.fork()
    if not pid:
        words = ["login", "--cert-dir", str(closed.trusted), closed.address]
        os.execv(TOOL[0], [*TOOL, *words])
    shown = ""
    try:
        for prompt, text in typed:
            while prompt not in shown:
                shown += os.read(terminal, 1 << 16).decode()
            os.write(terminal, text.encode())
        while piece := os.read(terminal, 1 << 16):
            shown += piece.decode()
    except OSError:  # what Linux says where the other end is closed
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def test_who_is_asked_at_a_terminal(closed: Closed, home: Path) -> None:
    password = f"Password of {USER} at {closed.address}: "
    status, shown = at_a_terminal(closed, ("Username: ", f"{USER}\n"), (password, f"{PASSWORD}\n"))
    assert status == 0 and f"logged in to {closed.address} as {USER}" in shown
    assert PASSWORD not in shown
    assert other("podman", "login", "--get-login", closed.address) == USER


def test_ctrl_c_at_the_password(closed: Closed, home: Path) -> None:
    status, shown = at_a_terminal(closed, ("Username: ", f"{USER}\n"), ("Password", "half\x03"))
    assert status == 130 and "half" not in shown and "Traceback" not in shown
    assert not config(home).exists()


# Command lines


def test_a_registry_without_logins_says_so(tmp_path: Path, home: Path) -> None:
    with docker_registry(tmp_path) as address:
        done = dockerc("login", "-u", USER, "--password-stdin", address, input="x")
    assert done.stderr == (
        f"dockerc: note: {address} asks for no login, so that this one was not checked\n"
    )
    assert "cannot reach" in failed("login", "-u", USER, "--password-stdin", address, input="x")


def test_what_is_not_a_login(home: Path) -> None:
    for given, said in {
        ("q.io/team",): "more than a registry",
        ("q io",): "is not a registry",
        ("-u", "a:b", "--password-stdin", "q.io"): "has no colon",
        ("q.io",): "--username",
        ("-u", "a", "q.io"): "--password-stdin",
        ("-u", "a", "--password-stdin", "q.io"): "is empty",
    }.items():
        assert said in failed("login", *given, status=2, input="\n")
    assert "there is no login for q.io" in failed("login", "--get-login", "q.io")
    assert "there is no login for q.io" in failed("logout", "q.io")


# Tags


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry with a repository of some tags."""
    with docker_registry(tmp_path_factory.mktemp("many")) as address:
        skopeo_copy(
            f"oci:{FIXTURES}/hello", f"docker://{address}/a/b:v0", "--dest-tls-verify=false"
        )
        for number in range(1, 8):
            skopeo_copy(
                f"docker://{address}/a/b:v0", f"docker://{address}/a/b:v{number}",
                "--src-tls-verify=false", "--dest-tls-verify=false",
            )  # fmt: skip
        yield address


def test_tags_page_by_page(many: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.images.auth.access import Access
    from toolkit.images.reference import parse_name

    theirs = other("skopeo", "list-tags", "--tls-verify=false", f"docker://{many}/a/b")
    expected = json.loads(theirs)["Tags"]
    assert len(expected) == 8
    assert dockerc("tags", f"docker://{many}/a/b").stdout.split() == expected
    assert json.loads(dockerc("tags", "--json", f"{many}/a/b").stdout) == expected
    for size in (1, 3, 8):
        monkeypatch.setattr(listing, "_PAGE", size)
        assert list(listing.list_tags(parse_name(f"{many}/a/b"), Access())) == expected
    assert "has no repository" in failed("tags", f"{many}/a/none")


def test_tags_of_a_short_name(many: str, home: Path) -> None:
    conf(home, f'unqualified-search-registries = ["{many}"]')
    assert len(dockerc("tags", "a/b").stdout.split()) == 8


def test_names_that_have_no_tags() -> None:
    for name, said in {
        "python:3": "without tag or digest",
        f"python@sha256:{'0' * 64}": "without tag or digest",
        "oci:dir": "is in no registry",
    }.items():
        assert said in failed("tags", name, status=2)


def endless(link: str) -> Any:
    """Pages that lead to `link`, in which {} is a number that grows."""
    count = iter(range(1 << 30))

    def serve(request: BaseHTTPRequestHandler) -> None:
        headers = {"Link": f'<{link.format(next(count))}>; rel="next"'}
        answer(200, b'{"tags": ["a"]}', headers)(request)

    return serve


def test_tags_without_end(liar: LyingRegistry) -> None:
    path = "/v2/app/tags/list"
    name = f"{liar.address}/app"
    liar.answers[path] = endless(f"{path}?last={{}}&n=1")
    done = dockerc("tags", name, check=False)
    assert done.returncode == 1 and "have more than 1000 pages" in done.stderr
    assert done.stdout == "a\n" * 1000
    liar.answers[path] = endless(f"{path}?last=same&n=1")
    assert "begin again" in dockerc("tags", name, check=False).stderr


def test_tags_lead_nowhere_else(liar: LyingRegistry) -> None:
    path = "/v2/app/tags/list"
    liar.answers[path] = endless("http://127.0.0.1:1/elsewhere?last={}&n=1")
    liar.requests.clear()
    dockerc("tags", f"{liar.address}/app", check=False)
    assert {asked.partition("?")[0] for asked, _ in liar.requests} <= {path, "/v2/"}


def test_tags_that_are_none(liar: LyingRegistry) -> None:
    for body in (b'{"tags": ["a\\u001b[2J"]}', b'{"tags": ["a b"]}', b'{"tags": [1]}', b"[]"):
        liar.answers["/v2/app/tags/list"] = answer(200, body)
        assert "malformed" in failed("tags", f"{liar.address}/app")
    liar.answers["/v2/app/tags/list"] = answer(200, b'{"tags": null}')
    assert dockerc("tags", f"{liar.address}/app").stdout == ""
