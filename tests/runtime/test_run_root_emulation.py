"""Root of a user without subordinate ids: calls that need ids which are not there succeed, and do
nothing, so that package managers and archivers go on."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import Runner, dockerc, need

NOBODY_S = ["setpriv", "--reuid", "23456", "--regid", "23456", "--clear-groups"]
"""A user who has no sub-ids."""
OFF = "--no-root-emulation"

pytestmark = pytest.mark.root("starts as another user")


def single(*words: str | Path, **options: Any) -> Any:
    return Runner(as_root=True)(*NOBODY_S, *words, **options)


CALLS = """
import ctypes, os, sys
os.close(os.open("/tmp/f", os.O_CREAT | os.O_WRONLY, 0o4755))
os.chown("/tmp/f", 33, 44)
os.chown("/tmp/f", -1, 44)
os.lchown("/tmp/f", 5, -1)
os.chown("/tmp/f", 0, 0)
os.mknod("/tmp/null", 0o020666, os.makedev(1, 3))
os.mknod("/tmp/fifo", 0o010644)
os.setgroups([1, 2, 3])
os.setresgid(33, 33, 33)
os.setresuid(33, 33, 33)
os.setegid(5)
os.seteuid(5)
found = os.stat("/tmp/f")
print(found.st_uid, found.st_gid, os.getresuid(), os.getresgid(), sorted(os.listdir("/tmp")))
"""


@pytest.fixture(scope="module")
def python(images: Path, place: Path) -> Path:
    dockerc("build", f"oci:{images}/python", "-o", place / "emulated")
    return place / "emulated"


def test_calls_succeed_and_do_nothing(python: Path) -> None:
    done = single(python, "python3", "-c", CALLS)
    assert done.stdout == "0 0 (0, 0, 0) (0, 0, 0) ['f', 'fifo']\n", done
    assert done.stderr == ""


def test_and_not_if_nobody_wants_it(python: Path) -> None:
    done = single(python, OFF, "python3", "-c", CALLS)
    assert "in <module>" in done.stderr and "Invalid argument" in done.stderr, done
    done = single(python, "--security-opt", "seccomp=unconfined", "python3", "-c", CALLS)
    assert "Invalid argument" in done.stderr, done


@pytest.mark.parametrize("user", ["www-data", "1000:1000"])
def test_other_users_get_the_kernel_s_answer(python: Path, user: str) -> None:
    done = single(python, "-u", user, "chown", "0:0", "/tmp")
    assert done.returncode == 1 and "chown" in done.stderr, done


def test_with_sub_ids_owners_are_true(python: Path, run_as_user: Runner) -> None:
    need("newuidmap")
    script = "touch /tmp/f; chown 33:44 /tmp/f; stat -c %u:%g /tmp/f"
    assert run_as_user(python, "sh", "-c", script).stdout == "33:44\n"


def test_a_command_that_is_run_in_it_too(python: Path, shared: Path) -> None:
    started = single(python, "-d", "--name", shared.name, "--log", shared / "log", "sleep", "60")
    assert started.returncode == 0, started
    try:
        inside = single(python, "--dockerc-exec", shared.name, "chown", "33", "/tmp")
        assert (inside.returncode, inside.stderr) == (0, ""), inside
    finally:
        single(python, "--dockerc-stop", "-t", "0", shared.name)


def test_tar_unpacks_what_belongs_to_others(deb: Path, shared: Path) -> None:
    script = (
        "cd /tmp && mkdir in out && touch in/f && tar cf x.tar --owner=daemon:1 --group=mail:8 in"
        " && tar tvf x.tar && tar xpf x.tar --same-owner -C out && stat -c %u:%g out/in/f"
    )
    done = single(deb, "sh", "-c", script)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "daemon/mail" in done.stdout and done.stdout.endswith("\n0:0\n")


@pytest.fixture
def repository(shared: Path) -> Path:
    """A Debian repository with one package, whose files and scripts want owners and a device."""
    need("dpkg-deb")
    tree = shared / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "var/mail/box").mkdir(parents=True)
    (tree / "var/mail/box/letter").write_text("a letter\n")
    (tree / "DEBIAN/control").write_text(
        "Package: owners\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\n"
        "Description: wants owners\n"
    )
    script = tree / "DEBIAN/postinst"
    script.write_text(
        "#!/bin/sh\nset -e\nchown -R daemon:mail /var/mail/box\n"
        "adduser --system --group owner >/dev/null 2>&1 || useradd -r owner\n"
        "install -o daemon -g mail -m 640 /etc/hostname /var/mail/box/copy\n"
        "mknod /var/mail/box/disk b 7 0\n"
    )
    script.chmod(0o755)
    built = shared / "repository"
    built.mkdir()
    archive = built / "owners.deb"
    subprocess.run(["dpkg-deb", "-b", tree, archive], check=True, capture_output=True)
    fields = subprocess.run(["dpkg-deb", "-f", archive], check=True, capture_output=True, text=True)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    index = f"Filename: ./owners.deb\nSize: {archive.stat().st_size}\nSHA256: {digest}\n"
    (built / "Packages").write_text(fields.stdout + index)
    return built


INSTALL = """
set -e
echo 'deb [trusted=yes] file:/repository ./' >/etc/apt/sources.list
rm -rf /etc/apt/sources.list.d/*
apt-get -q update
apt-get -q install -y owners
dpkg -s owners | grep Status
cat /var/mail/box/letter
ls /var/mail/box
"""


def test_apt_get_installs(deb: Path, repository: Path) -> None:
    done = single(deb, "-v", f"{repository}:/repository:ro", "sh", "-c", INSTALL, timeout=200)
    assert done.returncode == 0, done
    assert "Status: install ok installed\na letter\ncopy\nletter\n" in done.stdout
    done = single(deb, OFF, "-v", f"{repository}:/repository:ro", "sh", "-c", INSTALL, timeout=200)
    assert done.returncode != 0 and "setgroups" in done.stderr, done
