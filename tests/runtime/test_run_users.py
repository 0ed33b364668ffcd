"""Whose ids the app has, whose files it writes, and that no set-id program escapes its end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from images_support import hello_program
from layout import directory, file, tar_of, write_layout
from leftovers import processes_with, wait_for
from support import Runner, dockerc, need

NOBODY_S = ["setpriv", "--reuid", "23456", "--regid", "23456", "--clear-groups"]
"""A user who has no sub-ids."""


@pytest.fixture(scope="session")
def deb_of_daemon(images: Path, place: Path) -> Path:
    """The same with another user than root as its own."""
    output = place / "deb-daemon"
    dockerc("build", f"oci:{images}/debian", "-o", output, "--user", "daemon")
    return output


def test_user_by_name_and_number(run: Runner, deb: Path) -> None:
    script = ["sh", "-c", "id -u; id -g; echo $HOME; grep Groups /proc/self/status"]
    told = run(deb, "--user", "daemon", *script).stdout.split()
    assert told[:3] == ["1", "1", "/usr/sbin"]
    assert run(deb, "-u", "12:34", *script).stdout.split()[:3] == ["12", "34", "/"]
    assert run(deb, "-u", "daemon:mail", *script).stdout.split()[:2] == ["1", "8"]
    assert run(deb, "-u", "0", *script).stdout.split()[:3] == ["0", "0", "/root"]
    sentences = {
        "nobody-here": "no user nobody-here in the image's /etc/passwd",
        "daemon:no-group": "no group no-group in the image's /etc/group",
    }
    for wrong, sentence in sentences.items():
        done = run(deb, "-u", wrong, "true")
        assert done.returncode == 125 and sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_another_user_has_no_capabilities(run: Runner, deb: Path) -> None:
    status = run(deb, "-u", "daemon", "cat", "/proc/self/status").stdout
    assert "CapEff:\t0000000000000000\n" in status
    assert run(deb, "-u", "daemon", "cat", "/etc/shadow").returncode == 1


@pytest.mark.parametrize("options", [[], ["-u", "7:8"]])
def test_with_one_id_files_in_a_volume_are_the_caller_s(
    options: list[str], deb_of_daemon: Path, shared: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("taking another user id wants root")
    words = [*options, "-v", f"{shared}:/data", "sh", "-c", "id -u; touch /data/mine"]
    done = subprocess.run(
        [*NOBODY_S, deb_of_daemon, *words], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == ("7\n" if options else "1\n")
    status = (shared / "mine").stat()
    assert (status.st_uid, status.st_gid) == (23456, 23456)


def test_with_sub_ids_owners_can_be_changed(run: Runner, deb: Path) -> None:
    need("newuidmap")
    script = (
        "set -e; touch /srv/x; chown daemon:mail /srv/x; stat -c %U:%G /srv/x /etc/shadow;"
        " su daemon -s /bin/sh -c 'id -un; touch /tmp/y'; stat -c %U /tmp/y;"
        " setpriv --reuid=mail --regid=mail --init-groups id -un"
    )
    done = run(deb, "sh", "-c", script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["daemon:mail", "root:shadow", "daemon", "daemon", "mail"]


def test_volumes_of_the_image_are_made(run: Runner, shared: Path) -> None:
    layout = shared / "layout"
    layer = tar_of(directory("bin"), file("bin/hello", hello_program(), mode=0o755))
    config = {"Entrypoint": ["/bin/hello"], "Volumes": {"/var/lib/data": {}}}
    write_layout(layout, [layer], config)
    dockerc("build", f"oci:{layout}", "-o", shared / "app", "--workdir", "/var/lib/data")
    assert run(shared / "app", "pwd").stdout == "/var/lib/data\n"


def test_a_set_id_program_dies_with_the_stub(run: Runner, deb: Path) -> None:
    # Executing it takes the parent-death signal back (prctl(2)); it waits for a password.
    marker = f"marker-{os.getpid()}"
    words = ["-u", "daemon", "--security-opt", "no-new-privileges=false"]
    command = run.command(deb, *words, "/usr/bin/su", "-", "root", "-c", marker)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.read(9) == b"Password:"
        assert len(processes_with(marker)) >= 2
        process.kill()
        process.wait()
        assert wait_for(lambda: not processes_with(marker)), processes_with(marker)


def test_a_set_id_program_of_the_image_is_one(run: Runner, shared: Path, deb: Path) -> None:
    script = "stat -c %a /usr/bin/su; su root -c true </dev/null 2>&1 | head -c 9"
    told = run(deb, "--security-opt", "no-new-privileges=false", "-u", "daemon", "sh", "-c", script)
    assert told.stdout.startswith("4755\nPassword:")
