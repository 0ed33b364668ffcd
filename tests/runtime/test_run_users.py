"""Whose ids the app has, whose files it writes, and that no set-id program escapes its end."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest
from images_support import hello_program
from layout import directory, file, tar_of, write_layout
from leftovers import processes_with, wait_for
from support import ORDINARY_USER, Runner, dockerc, need

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


@pytest.mark.parametrize("options", [[], ["-u", "7:8"]])
@pytest.mark.root("gives the caller another group")
def test_the_caller_s_groups_can_be_kept(options: list[str], deb: Path, shared: Path) -> None:
    need("newuidmap")
    (shared / "file").write_text("the group's\n")
    os.chown(shared / "file", 0, 4242)
    (shared / "file").chmod(0o640)
    user = Runner(as_root=False).command("true")[:-2]
    words = [*user, "--groups", "4242", deb, *options, "-v", f"{shared}:/data"]
    for more, expected in (([], ""), (["--group-add", "keep-groups"], "the group's\n")):
        done = subprocess.run(
            [*words, *more, "cat", "/data/file"], capture_output=True, text=True, timeout=60
        )
        assert done.stdout == expected, done.stderr


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


@pytest.fixture
def callers_volume(shared: Path) -> Path:
    """A directory of the ordinary user's."""
    shutil.chown(shared, ORDINARY_USER, ORDINARY_USER)
    shared.chmod(0o755)
    return shared


OWN_NUMBERS = ["$(id -u):$(id -g)", "daemon", "70000", "1000680000:0", "70000:80000", "4294967294"]


@pytest.mark.parametrize("user", OWN_NUMBERS)
def test_with_sub_ids_files_in_a_volume_are_the_caller_s_whoever_the_user_is(
    user: str, run_as_user: Runner, deb: Path, callers_volume: Path
) -> None:
    need("newuidmap")
    script = "id -u; id -g; touch /data/mine; stat -c %u:%g /etc/passwd; stat -c %G /etc/shadow"
    line = f'exec {deb} -u {user} -v {callers_volume}:/data sh -c "{script}"'
    done = run_as_user("sh", "-c", line)
    assert (done.returncode, done.stderr) == (0, "")
    own = pwd.getpwnam(ORDINARY_USER)
    numbers = {"$(id -u):$(id -g)": f"{own.pw_uid}:{own.pw_gid}", "daemon": "1:1"}
    uid, _, gid = numbers.get(user, user).partition(":")
    # And the image's other owners are there, too.
    assert done.stdout.split() == [uid, gid or "0", "0:0", "shadow"]
    status = (callers_volume / "mine").stat()
    assert (status.st_uid, status.st_gid) == (own.pw_uid, own.pw_gid)


def test_a_user_of_the_image_gets_what_is_the_caller_s(
    run_as_user: Runner, deb_of_daemon: Path, callers_volume: Path
) -> None:
    need("newuidmap")
    line = f"{deb_of_daemon} sh -c 'echo x >> /dev/stderr; echo y >> /dev/stdout; id -un'"
    script = f"cd {callers_volume}; {line} 2>&1 | cat; {line} >> file 2>&1; cat file"
    done = run_as_user("sh", "-c", script)
    assert done.stdout.split() == ["x", "y", "daemon"] * 2
    # What is not the user's stays out of reach.
    done = run_as_user(deb_of_daemon, "sh", "-c", "touch /etc/x /root/x; cat /etc/shadow")
    assert done.returncode == 1 and done.stderr.count("Permission denied") == 3


def test_root_gives_pipes_to_the_user_of_the_image(deb_of_daemon: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root's pipes are root's")
    script = "echo x > /dev/stdout; echo y > /dev/stderr; cat /dev/stdin"
    as_root = Runner(as_root=True)
    done = as_root("sh", "-c", f"echo z | {deb_of_daemon} sh -c '{script}'")
    assert (done.stdout, done.stderr) == ("x\nz\n", "y\n")


def test_root_s_files_stay_root_s_and_can_be_opened_again(
    deb_of_daemon: Path, shared: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root's files are root's")
    os.mkfifo(shared / "fifo", 0o600)
    script = f"cat <{shared}/fifo & {deb_of_daemon} id -un >{shared}/log 2>{shared}/fifo; wait"
    assert Runner(as_root=True)("sh", "-c", script).returncode == 0
    assert (shared / "log").read_text() == "daemon\n"
    # As images of servers do, whose logs are links to these.
    twice = "for i in 1 2 3; do echo out $i > /dev/stdout; echo err $i > /dev/stderr; done"
    script = f"cd {shared}; {deb_of_daemon} sh -c '{twice}' >>both 2>&1; echo $?"
    script += f"; {deb_of_daemon} sh -c '{twice}; exit 7' >out 2>err; echo $?"
    script += f"; {deb_of_daemon} sh -c 'head -c 3000000 /dev/zero; echo end' >large; echo $?"
    script += f"; {deb_of_daemon} sh -c 'head -c 3000000 /dev/zero' 2>/dev/null >/dev/full; echo $?"
    assert Runner(as_root=True)("sh", "-c", script).stdout.split() == ["0", "7", "0", "1"]
    numbers = range(1, 4)
    both = "".join(f"out {i}\nerr {i}\n" for i in numbers)
    assert (shared / "both").read_text() == both
    assert (shared / "out").read_text() == "".join(f"out {i}\n" for i in numbers)
    assert (shared / "err").read_text() == "".join(f"err {i}\n" for i in numbers)
    assert (shared / "large").read_bytes() == bytes(3000000) + b"end\n"
    names = ["log", "fifo", "both", "out", "err", "large"]
    assert [(shared / name).stat().st_uid for name in names] == [0] * len(names)


def test_kept_files_have_the_same_owners_whoever_the_user_is(
    run_as_user: Runner, deb: Path, callers_volume: Path
) -> None:
    need("newuidmap")
    kept = ["--overlay", callers_volume / "kept"]
    made = "touch /srv/roots; touch /srv/daemons; chown daemon /srv/daemons; chmod 777 /srv"
    assert run_as_user(deb, *kept, "sh", "-c", made).returncode == 0
    assert run_as_user(deb, *kept, "-u", "daemon", "touch", "/srv/own").returncode == 0
    told = run_as_user(deb, *kept, "stat", "-c", "%U", "/srv/roots", "/srv/daemons", "/srv/own")
    assert told.stdout.split() == ["root", "daemon", "daemon"]


@pytest.mark.parametrize("way", ["unpack", "copy"])
def test_unpacked_files_have_their_owners_whoever_the_user_is(
    way: str, run_as_user: Runner, deb: Path
) -> None:
    need("newuidmap")
    words = ["stat", "-c", "%U:%G", "/etc/passwd", "/etc/shadow"]
    for user in ("root", "daemon", "70000", "root"):
        done = run_as_user(deb, "-u", user, *words, env={"DOCKERC_FORCE": way})
        assert done.stdout.split() == ["root:root", "root:shadow"]


def test_groups_contain_the_primary_one(run: Runner, deb: Path) -> None:
    # Else what is denied to that group could be had without it (CVE-2022-36109).
    for user, groups in (("12:34", "34"), ("daemon", "1"), ("0", "0")):
        done = run(deb, "-u", user, "sh", "-c", "grep ^Groups: /proc/self/status")
        assert done.stdout.split() == ["Groups:", groups]


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
