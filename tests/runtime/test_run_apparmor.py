"""Starts that AppArmor refuses something, on a machine whose pages are of 16 KiB.

Debian's kernel has no `apparmor_restrict_unprivileged_userns`, which is Ubuntu's own: profiles do
to a file what that setting does there, and a file by that name says that it is set.
"""

from __future__ import annotations

import os
import shlex
import subprocess

import arm64_machine
import pytest
from arm64_machine import Answer
from layout import write_layout
from support import FIXTURES, dockerc, need

PREPARE = """
mount -t securityfs none /sys/kernel/security
for part in /sys /sys/kernel/security /proc; do mount --bind $part /disk/tools$part; done
mkdir -p /etc/apparmor.d
mount --bind /disk/tools/etc/apparmor.d /etc/apparmor.d
printf '#!/bin/sh\\nexec chroot /disk/tools /usr/sbin/apparmor_parser "$@"\\n' \
    >/usr/sbin/apparmor_parser
printf '#!/bin/sh\\nexec "$@"\\n' >/usr/bin/sudo
chmod +x /usr/bin/sudo /usr/sbin/apparmor_parser
cat >/etc/apparmor.d/refusing <<END
abi <abi/4.0>,
profile nothing-in-it "/disk/a place/*" { allow all, deny capability, }
profile no-namespace /disk/hello { allow all, deny userns, }
END
apparmor_parser -r /etc/apparmor.d/refusing && cat /sys/kernel/security/apparmor/profiles
"""
SETTING = """
mkdir /tmp/kernel
cp -r /proc/sys/kernel/[a-o]* /proc/sys/kernel/unprivileged_userns_clone /tmp/kernel 2>/dev/null
echo 1 >/tmp/kernel/apparmor_restrict_unprivileged_userns
mount --bind /tmp/kernel /proc/sys/kernel
"""
OBEY = """
grep -o "printf .* '/etc/apparmor.d/dockerc-deb'" /tmp/told >/tmp/advice && sh /tmp/advice
"""
DEB = "'/disk/a place/deb'"
VERSION = f"DOCKERC_LOG=debug {DEB} cat /etc/debian_version"
JOBS = {
    "pages": ("root", "grep -m1 KernelPageSize /proc/self/smaps"),
    "free": ("user", f"DOCKERC_LOG=quiet {DEB} bash -c 'sha256sum /bin/bash; ls /usr/bin | wc -l'"),
    "root": ("root", f"DOCKERC_LOG=quiet {DEB} bash -c 'sha256sum /bin/bash; ls /usr/bin | wc -l'"),
    "profiles": ("root", f"sh -c {shlex.quote(PREPARE)}"),
    "no namespace": ("user", "/disk/hello"),
    "nothing in it": ("user", VERSION),
    "setting": ("root", f"sh -c {shlex.quote(SETTING)}"),
    "as in Ubuntu": ("user", VERSION),
    "doctor": ("user", f"{DEB} --dockerc-doctor >/tmp/told; cat /tmp/told"),
    "obeyed": ("root", f"sh -c {shlex.quote(OBEY)}"),
    "with a profile": ("user", VERSION),
    "doctor again": ("user", f"{DEB} --dockerc-doctor"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """What each of the jobs printed."""
    need("qemu-system-aarch64", "mmdebstrap", "mke2fs", "cpio", "depmod")
    if os.geteuid() != 0:
        pytest.skip("mmdebstrap and depmod want root")
    work = tmp_path_factory.mktemp("apparmor")
    apps = work / "apps"
    (apps / "a place").mkdir(parents=True)
    (apps / "tools").mkdir()
    system = arm64_machine.debian(work, "trixie", "linux-image-arm64-16k", "apparmor")
    unpack = ["tar", "-x", "-C", apps / "tools", "--exclude=./boot", "--exclude=./dev/*"]
    subprocess.run([*unpack, "--exclude=./usr/lib/modules", "-f", system], check=True)
    layout = write_layout(work / "deb", [arm64_machine.layer(system)], architecture="arm64")
    dockerc("build", "--arch", "arm64", f"oci:{layout}", "-o", apps / "a place" / "deb")
    dockerc("build", "--arch", "arm64", f"oci:{FIXTURES}/hello", "-o", apps / "hello")
    found = arm64_machine.run(system, apps, list(JOBS.values()), timeout=500)
    assert len(found) == len(JOBS), found
    return dict(zip(JOBS, found, strict=True))


def test_pages_of_another_size(answers: dict[str, Answer]) -> None:
    assert answers["pages"].output.split() == ["KernelPageSize:", "16", "kB"]
    assert answers["free"].status == 0 and answers["free"] == answers["root"]


def test_a_profile_that_forbids_namespaces(answers: dict[str, Answer]) -> None:
    assert "no-namespace (enforce)" in answers["profiles"].output
    note, greeting = answers["no namespace"].output.splitlines()
    assert "user namespaces are refused here (permission denied)" in note
    assert (greeting, answers["no namespace"].status) == ("Hello from dockerc on aarch64", 0)


@pytest.mark.parametrize("job", ["nothing in it", "as in Ubuntu"])
def test_a_namespace_in_which_all_is_forbidden(answers: dict[str, Answer], job: str) -> None:
    told = answers[job].output
    assert "changes go to the cache" in told and "this run is not isolated" in told
    assert told.splitlines()[-2].startswith("13.") and answers[job].status == 0


def test_the_profile_that_the_doctor_prints(answers: dict[str, Answer]) -> None:
    told = answers["doctor"].output
    assert "AppArmor forbids user namespaces to programs without a profile" in told
    assert "this file would run by: unpacked once into the cache, its paths translated" in told
    assert answers["obeyed"].status == 0, answers["obeyed"]
    told = answers["with a profile"].output
    assert "payload mounted by FUSE" in told and "overlay mounted" in told
    assert "not isolated" not in told and answers["with a profile"].status == 0
    assert "this file would run by: FUSE, under an overlay\n" in answers["doctor again"].output
