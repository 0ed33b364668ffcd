"""Whole starts on an arm64 machine: its kernel is Debian 12's, older than most on which we run."""

from __future__ import annotations

import os

import arm64_machine
import pytest
from arm64_machine import Answer
from layout import write_layout
from support import FIXTURES, dockerc, need

CHANGES = "rm -r /usr/share/doc && mkdir /usr/share/doc && ls /usr/share/doc | wc -l && exit 42"
"""Wants an overlay that can hide a directory of the layer below."""
TRANSLATED = (
    "cat /etc/debian_version; id -u; cat /srv/f | tr a-z A-Z; echo new >/etc/new; cat /etc/new;"
    " cd /usr; pwd; readlink /proc/self/exe; kill -TERM $$"
)
JOBS = {
    "greeting": ("user", "/disk/hello"),
    "debug": ("user", "DOCKERC_LOG=debug /disk/hello id"),
    "mounts": ("user", "/disk/hello cat /proc/self/mountinfo"),
    "changes": ("user", f"/disk/deb bash -c '{CHANGES}'"),
    "again": ("user", "/disk/deb bash -c 'ls /usr/share/doc | wc -l'"),
    "volume": (
        "user",
        "/disk/deb -v /disk/home:/srv bash -c 'echo mine >/srv/f' && ls -l /disk/home",
    ),
    "filter": ("user", "/disk/deb grep -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/self/status"),
    "root": ("root", "DOCKERC_LOG=debug /disk/deb cat /etc/debian_version"),
    "emulation": (
        "user",
        "/disk/deb bash -c 'touch /tmp/f; chown 33:44 /tmp/f && stat -c %u /tmp/f'",
    ),
    "no namespaces": ("root", "echo 0 >/proc/sys/user/max_user_namespaces"),
    "translated": ("user", f"/disk/deb -v /disk/home:/srv bash -c '{TRANSLATED}'"),
    "left": (
        "root",
        "ls -A /tmp /disk/tmp; grep -c dockerc /proc/mounts",
    ),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """What each of the jobs printed."""
    need("qemu-system-aarch64", "mmdebstrap", "mke2fs", "cpio", "depmod")
    if os.geteuid() != 0:
        pytest.skip("mmdebstrap and depmod want root")
    work = tmp_path_factory.mktemp("arm64")
    apps = work / "apps"
    apps.mkdir()
    system = arm64_machine.debian(work, "bookworm", "linux-image-cloud-arm64")
    layout = write_layout(work / "deb", [arm64_machine.layer(system)], architecture="arm64")
    dockerc("build", "--arch", "arm64", f"oci:{layout}", "-o", apps / "deb")
    dockerc("build", "--arch", "arm64", f"oci:{FIXTURES}/hello", "-o", apps / "hello")
    found = arm64_machine.run(system, apps, list(JOBS.values()), timeout=400)
    assert len(found) == len(JOBS), found
    return dict(zip(JOBS, found, strict=True))


def test_an_ordinary_user_s_start(answers: dict[str, Answer]) -> None:
    assert answers["greeting"] == Answer("Hello from dockerc on aarch64\n", 0)
    told = answers["debug"].output
    assert "payload mounted by FUSE" in told and "overlay mounted" in told
    assert "changes go to /var/tmp" in told, "the machine has a gigabyte of memory"
    assert "\n0:0\n" in told


def test_the_mounts_are_the_container_s(answers: dict[str, Answer]) -> None:
    mounted = [line.split()[4] for line in answers["mounts"].output.splitlines() if line]
    assert {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/sys"} <= set(mounted)
    assert "/disk" not in mounted


def test_changes_are_the_run_s_own(answers: dict[str, Answer]) -> None:
    assert answers["changes"].output.endswith("\n0\n") and answers["changes"].status == 42
    assert int(answers["again"].output.split()[-1]) > 20
    assert "user     user" in answers["volume"].output and answers["volume"].status == 0


def test_what_the_app_may_do(answers: dict[str, Answer]) -> None:
    fields = dict(line.split(":\t") for line in answers["filter"].output.splitlines()[1:] if line)
    assert fields == {"CapEff": "00000000a80425fb", "NoNewPrivs": "1", "Seccomp": "2"}


def test_root_s_start(answers: dict[str, Answer]) -> None:
    told = answers["root"].output
    assert "payload mounted by FUSE" in told
    assert "\n12." in told and answers["root"].status == 0


def test_owners_that_do_not_exist(answers: dict[str, Answer]) -> None:
    assert answers["emulation"].output.endswith("\n0\n"), answers["emulation"]


def test_without_user_namespaces_paths_are_translated(answers: dict[str, Answer]) -> None:
    note, version, *told = answers["translated"].output.splitlines()
    assert "not isolated" in note and version.startswith("12.")
    assert told == ["0", "MINE", "new", "/usr", "/bin/readlink"]
    assert answers["translated"].status == 143


def test_nothing_is_left(answers: dict[str, Answer]) -> None:
    assert answers["left"].output == "/disk/tmp:\n\n/tmp:\n0\n"
