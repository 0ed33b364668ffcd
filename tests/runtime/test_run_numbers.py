"""Numbers are decimal digits and nothing else; a file is read whole, or not at all."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from layout import directory, file, tar_of, write_layout
from support import TESTS, Runner, dockerc, with_config
from test_run_flags import refused, said

NO_NUMBERS = ["1_0", "+5", "-0", "0x1", "1 ", " 1", "1.", "1e1", "٣"]


@pytest.mark.parametrize("word", NO_NUMBERS)
def test_only_digits_are_a_number(run: Runner, deb: Path, word: str) -> None:
    assert f"no user {word}" in refused(run, deb, f"--user={word}", "true")
    assert f"no group {word}" in refused(run, deb, f"--user=0:{word}", "true")
    refused(run, deb, "--ulimit", f"nofile={word}", "true")
    refused(run, deb, "--ulimit", f"nofile=1:{word}", "true")
    refused(run, deb, "--pids-limit", word, "true")
    refused(run, deb, "--memory", word, "true")
    if word != "1.":
        refused(run, deb, "--cpus", word, "true")


@pytest.mark.parametrize("word", ["4294967296", "99999999999999999999"])
def test_no_user_is_what_does_not_fit(run: Runner, deb: Path, word: str) -> None:
    assert f"no user {word}" in refused(run, deb, f"--user={word}", "true")


def test_the_digits_behind_the_point_are_digits(run: Runner, deb: Path) -> None:
    refused(run, deb, "--cpus", "1.500x", "true")
    refused(run, deb, "--cpus", "1.5_0", "true")


def test_ids_of_the_image_are_digits_too(run: Runner, deb: Path, shared: Path) -> None:
    layer = tar_of(
        directory("etc"),
        file("etc/passwd", b"odd:x:1_0:0::/:\nplus:x:+7:0::/:\nsound:x:0:0::/sound:\n"),
        file("etc/group", b"oddest:x:1_0:\n"),
    )
    layout = write_layout(shared / "layout", [layer], {"Entrypoint": ["/x"]})
    dockerc("build", f"oci:{layout}", "-o", shared / "app", "--args", "docker")
    for user in ("odd", "plus", "0:oddest"):
        assert "in the image's /etc/" in refused(run, shared / "app", "-u", user)
    assert "in the image's /etc/" not in run(shared / "app", "-u", "sound").stderr


@pytest.mark.parametrize("number", ["1_0", "+5", "0x5", "05", "5e0", "-5", "-0"])
def test_numbers_of_a_filter_are_json(run: Runner, deb: Path, shared: Path, number: str) -> None:
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": "NUMBER"}
    profile = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    (shared / "filter").write_text(profile.replace('"NUMBER"', number))
    words = ["--security-opt", f"seccomp={shared}/filter"]
    assert "seccomp" in refused(run, deb, *words, "true")


@pytest.mark.parametrize("digits", ["+041", "0_41", "00 1"])
def test_digits_of_an_escape_are_hexadecimal(
    run: Runner, deb: Path, shared: Path, digits: str
) -> None:
    profile = '{"defaultAction": "SCMP_ACT_\\uDIGITSLLOW"}'
    (shared / "filter").write_text(profile.replace("DIGITS", digits))
    words = ["--security-opt", f"seccomp={shared}/filter"]
    assert "JSON" in refused(run, deb, *words, "true")


def test_a_long_environment_file_is_refused_not_cut(run: Runner, deb: Path, shared: Path) -> None:
    lines = "# a comment of some length, so that the file grows\n" * (1 << 15)
    (shared / "env").write_text(lines + "LAST=there\n")
    assert "file too large" in refused(run, deb, "--env-file", shared / "env", "env")
    (shared / "env").write_text("#" + lines[-((1 << 20) - 12) :] + "LAST=there\n")
    assert "LAST=there" in said(run, deb, "--env-file", shared / "env", "env").splitlines()


def test_a_long_filter_is_refused_not_cut(run: Runner, deb: Path, shared: Path) -> None:
    profile = '{"defaultAction": "SCMP_ACT_ALLOW"}'
    (shared / "filter").write_text(profile + " " * (4 << 20))
    words = ["--security-opt", f"seccomp={shared}/filter"]
    assert "file too large" in refused(run, deb, *words, "true")


LIKE_DOCKER = [sys.executable, str(TESTS / "like_docker.py")]


def test_a_long_file_is_copied_whole_where_nothing_can_be_mounted(deb: Path, shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can install the filter")
    config = json.loads(dockerc("inspect", "--config", deb).stdout)
    (shared / "long").write_bytes(b"line\n" * (1 << 19) + b"the last line\n")
    source = {"source": str(shared / "long"), "destination": "/long", "type": "bind"}
    config["mounts"].append({**source, "options": ["rbind", "ro"]})
    app = with_config(deb, config, shared / "app")
    done = Runner(as_root=True)(*LIKE_DOCKER, app, "tail", "-n", "1", "/long")
    assert (done.returncode, done.stdout) == (0, "the last line\n"), done.stderr


def test_a_file_that_cannot_be_copied_whole_is_no_part_of_one(hello: Path, shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can install the filter")
    config = json.loads(dockerc("inspect", "--config", hello).stdout)
    (shared / "long").write_bytes(b"line\n" * (1 << 19))
    source = {"source": str(shared / "long"), "destination": "/long", "type": "bind"}
    config["mounts"].append({**source, "options": ["rbind", "ro"]})
    app = with_config(hello, config, shared / "app")
    limited = ["sh", "-c", 'ulimit -f 1024; trap "" XFSZ; exec "$@"', "-"]
    done = Runner(as_root=True)(*limited, *LIKE_DOCKER, app, "cat", "/long")
    assert (done.returncode, done.stdout) == (125, "")
    (sentence,) = done.stderr.splitlines()
    assert "/long" in sentence and "too large" in sentence


def test_a_long_table_of_hosts_is_whole(run: Runner, deb: Path, shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can show another /etc/hosts")
    (shared / "hosts").write_text("127.0.0.1 localhost\n" * (1 << 17) + "10.0.0.1 last\n")
    (shared / "hosts").chmod(0o644)
    command = run.command(deb, "--add-host", "added:10.0.0.2", "tail", "-n", "2", "/etc/hosts")
    bind = f'mount --bind {shared}/hosts /etc/hosts && exec "$@"'
    done = Runner(as_root=True)("unshare", "-m", "sh", "-c", bind, "-", *command)
    assert done.stdout == "10.0.0.1 last\n10.0.0.2\tadded\n", done.stderr
