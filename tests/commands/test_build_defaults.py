"""Defaults for `dockerc build`: dockerc-config(5)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support import FIXTURES, dockerc, failed

from toolkit.commands import defaults

HELLO = f"oci:{FIXTURES}/hello"


def block_size(tmp_path: Path, *words: str, **variables: str) -> int:
    app = tmp_path / "app"
    dockerc("build", "-q", HELLO, "-o", app, *words, env=os.environ | variables)
    squashfs: dict[str, Any] = json.loads(dockerc("inspect", "--json", app).stdout)["squashfs"]
    return int(squashfs["block_size"])


def test_the_command_line_then_the_environment_then_the_file(tmp_path: Path) -> None:
    home = tmp_path / "config"
    (home / "dockerc").mkdir(parents=True)
    (home / "dockerc" / "config.toml").write_text('[build]\nblock-size = "64K"\nlevel = 1\n')
    of_user = {"XDG_CONFIG_HOME": str(home), "DOCKERC_CONFIG": ""}
    assert block_size(tmp_path) == 512 << 10
    assert block_size(tmp_path, **of_user) == 64 << 10
    assert block_size(tmp_path, **of_user, DOCKERC_BLOCK_SIZE="32K") == 32 << 10
    words = ["--block-size", "16K"]
    assert block_size(tmp_path, *words, **of_user, DOCKERC_BLOCK_SIZE="32K") == 16 << 10


def test_the_user_goes_before_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKERC_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(defaults, "SYSTEM", tmp_path / "system.toml")
    assert defaults.build_defaults() == {}
    (tmp_path / "system.toml").write_text("[build]\nlevel = 3\nquiet = true\n")
    (tmp_path / "dockerc").mkdir()
    (tmp_path / "dockerc" / "config.toml").write_text("[build]\nlevel = 5\n")
    assert defaults.build_defaults() == {"level": 5, "quiet": True}
    monkeypatch.setenv("DOCKERC_TLS_VERIFY", "false")
    assert defaults.build_defaults() == {"level": 5, "quiet": True, "tls_verify": "false"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[build]\nlevle = 3\n", "there is no setting levle; there are authfile"),
        ("[build]\nlevel = '3'\n", "level must be a number"),
        ("[build]\nquiet = 1\n", "quiet must be true or false"),
        ("[run]\nlevel = 3\n", "run has no meaning there"),
        ("level = 3\n", "level has no meaning there"),
        ("build = 3\n", "build has no meaning there"),
        ("[vm]\nlevel = 3\n", "there is no setting level; there are kernel"),
        ("[vm]\nkernel = 3\n", "kernel must be a string"),
        ("vm = 3\n", "vm has no meaning there; [build] and [vm] are the only tables"),
        ("[build\n", "is not valid TOML"),
    ],
)
def test_what_is_malformed(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    environment = os.environ | {"DOCKERC_CONFIG": str(path)}
    sentence = failed("build", "-q", HELLO, "-o", tmp_path / "app", env=environment)
    assert f"{path}" in sentence and told in sentence
    assert dockerc("build", "--help", env=environment).returncode == 0


def test_the_home_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As sudo and setpriv leave it: nothing is read there, and nothing is wrong."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    file = tmp_path / "dockerc" / "config.toml"
    file.parent.mkdir(0o700)
    file.write_text("[build\n")
    monkeypatch.delenv("DOCKERC_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    os.seteuid(12345)
    try:
        assert defaults.build_defaults() == {}
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("name", "value", "told", "status"),
    [
        ("QUIET", "maybe", "DOCKERC_QUIET is 'maybe'; it must be true or false", 2),
        ("LEVEL", "high", "DOCKERC_LEVEL is 'high'; it must be a number", 2),
        ("CONFIG", "/none.toml", "DOCKERC_CONFIG names /none.toml, which does not exist", 1),
    ],
)
def test_variables_that_are_wrong(name: str, value: str, told: str, status: int) -> None:
    environment = os.environ | {f"DOCKERC_{name}": value}
    assert told in failed("build", HELLO, "-o", "app", status=status, env=environment)


def test_the_kernel_of_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("DOCKERC_CONFIG", str(path))
    path.write_text("[build]\nlevel = 3\n")
    assert defaults.kernel_default() is None
    path.write_text("[build]\nlevel = 3\n[vm]\nkernel = '/some/kernel'\n")
    assert defaults.kernel_default() == "/some/kernel"
    assert defaults.build_defaults() == {"level": 3}
    monkeypatch.setenv("DOCKERC_KERNEL", "docker://linuxkit/kernel:6")
    assert defaults.kernel_default() == "docker://linuxkit/kernel:6"
