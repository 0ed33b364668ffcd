"""`dockerc build` and registries that ask for a login: how it is given, and what --debug tells."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path

from registry_support import PASSWORD, USER, Closed
from support import dockerc, failed

from toolkit.commands.debug_log import Formatter

SECRET = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def test_build_takes_logins_as_skopeo_does(
    password_registry: Closed, home: Path, tmp_path: Path
) -> None:
    """--authfile, --creds, and --password-stdin with the user alone."""
    name = f"docker://{password_registry.address}/team/app:1"
    app = tmp_path / "app"
    words = ["build", "-q", name, "-o", app, "--cert-dir", password_registry.trusted]
    assert "denies access" in failed(*words)
    logins = tmp_path / "auth.json"
    logins.write_text(json.dumps({"auths": {password_registry.address: {"auth": SECRET}}}))
    for given, typed in (
        (["--authfile", logins], ""),
        (["--creds", f"{USER}:{PASSWORD}"], ""),
        (["--creds", USER, "--password-stdin"], f"{PASSWORD}\n"),
    ):
        dockerc(*words, *given, input=typed)
        app.unlink()
    told = failed(*words, "--creds", USER, "--password-stdin", input="wrong one\n")
    assert f"refuses the login of '{USER}'" in told and "wrong one" not in told
    told = failed(*words, "--creds", USER, "--password-stdin", input="", status=2)
    assert "there is no password on standard input" in told
    for creds in ([], ["--creds", "a:b"]):
        told = failed(*words, *creds, "--password-stdin", status=2)
        assert "goes with --creds USER, without a password" in told
    assert "none, which does not exist" in failed(*words, "--authfile", tmp_path / "none")


def test_debug_tells_what_is_asked_without_secrets(
    password_registry: Closed, home: Path, tmp_path: Path
) -> None:
    name = f"docker://{password_registry.address}/team/app:1"
    words = ["build", "-q", name, "-o", tmp_path / "app", "--cert-dir", password_registry.trusted]
    told = dockerc(*words, "--creds", f"{USER}:{PASSWORD}", "--debug").stderr
    assert "dockerc: debug: " in told and '"GET /v2/team/app/manifests/1 HTTP/1.1" 200' in told
    assert PASSWORD not in told and SECRET not in told
    record = logging.LogRecord("x", logging.DEBUG, "", 0, "GET /b?sig=1 x?y\x1b z", (), None)
    assert "sig" not in Formatter().format(record) and "\x1b" not in Formatter().format(record)
    assert dockerc(*words, "--creds", f"{USER}:{PASSWORD}").stderr == ""
