"""Files of the image whose owners do not exist in the run's user namespace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from layout import directory, file, on_top, symlink, tar_of
from leftovers import wait_for
from support import Runner, dockerc, need
from terminal_support import Terminal

NOBODY_S = ["setpriv", "--reuid", "23456", "--regid", "23456", "--clear-groups"]
"""A user who has no sub-ids."""

SCRIPT = (
    "cd /srv && stat -c '%n %u:%g %a' far far.txt link near.txt && cat far.txt far/inside &&"
    " echo more >>far.txt && touch far/new && chmod 644 far.txt && mv far/inside far/other &&"
    " cat far.txt && stat -c '%n %u:%g %a' far.txt far/other"
)
"""What root of a container may do with everybody's files."""

CHOWN = "cd /srv && chown 5:6 far.txt far && stat -c '%n %u:%g' far.txt far"


@pytest.fixture(scope="module")
def far(images: Path, place: Path) -> Path:
    """The debian image with files of ids that a range of 65,536 does not have."""
    owner = {"uid": 70_000, "gid": 80_000}
    layer = tar_of(
        directory("srv/far", mode=0o700, **owner),
        file("srv/far/inside", b"inside\n", mode=0o600, **owner),
        file("srv/far.txt", b"far\n", mode=0o600, **owner),
        symlink("srv/link", "far.txt", **owner),
        file("srv/near.txt", b"near\n", mode=0o600, uid=60_000, gid=900),
    )
    layout = on_top(images / "debian", place / "far-layout", layer, {})
    dockerc("build", f"oci:{layout}", "-o", place / "far")
    return place / "far"


def expected(far: str, near: str) -> list[str]:
    return [
        f"far {far} 700", f"far.txt {far} 600", f"link {far} 777", f"near.txt {near} 600",
        "far", "inside", "far", "more", f"far.txt {far} 644", f"far/other {far} 600",
    ]  # fmt: skip


@pytest.mark.parametrize("way", ["fuse", "unpack", "copy"])
def test_with_sub_ids_they_belong_to_nobody(far: Path, run_as_user: Runner, way: str) -> None:
    need("newuidmap")
    environment = {**os.environ, "DOCKERC_FORCE": way}
    done = run_as_user(far, "sh", "-c", SCRIPT, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == expected("65534:65534", "60000:900")
    done = run_as_user(far, "sh", "-c", CHOWN, env=environment)
    assert (done.returncode, done.stdout) == (0, "far.txt 5:6\nfar 5:6\n"), done.stderr


def test_the_build_says_which_ids_the_image_needs(images: Path, far: Path, place: Path) -> None:
    done = dockerc("build", f"oci:{place}/far-layout", "-o", place / "far-again")
    assert "note: files of the image belong to id 80000; who runs it with fewer" in done.stderr
    done = dockerc("build", f"oci:{images}/debian", "-o", place / "near")
    assert "belong to id" not in done.stderr


def on_terminal(command: list[str]) -> str:
    """What a command that ends with `echo ran` writes to a terminal before that."""
    terminal = Terminal(command)
    try:
        seen = terminal.until("ran\r\n")
        assert terminal.end() == 0
        return seen
    finally:
        terminal.close()


def test_a_start_says_so_to_a_terminal(far: Path, deb: Path, run_as_user: Runner) -> None:
    need("newuidmap")
    sentence = "/etc/subgid do not reach id 80000"
    for app, expected_count in ((far, 1), (deb, 0)):
        told = on_terminal(run_as_user.command(app, "echo", "ran"))
        assert told.count(sentence) == expected_count, told
    quiet = run_as_user.command("env", "DOCKERC_LOG=quiet", far, "echo", "ran")
    assert sentence not in on_terminal(quiet)
    done = run_as_user(far, "true")
    assert (done.returncode, done.stderr) == (0, "")


def test_who_is_nobody_owns_them(far: Path, run_as_user: Runner) -> None:
    need("newuidmap")
    script = "cat /srv/far.txt; cat /srv/near.txt"
    done = run_as_user(far, "-u", "nobody", "sh", "-c", script)
    assert done.stdout == "far\n" and "near.txt: Permission denied" in done.stderr
    done = run_as_user(far, "-u", "daemon", "cat", "/srv/far.txt")
    assert "far.txt: Permission denied" in done.stderr


@pytest.mark.parametrize("user", ["0:0", "7:8"])
def test_without_sub_ids_they_belong_to_the_one_user(far: Path, user: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("taking another user id wants root")
    words = [*NOBODY_S, far, "-u", user, "sh", "-c", SCRIPT]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected(user, user)


def test_root_sees_them_as_they_are(far: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can test what root gets")
    done = Runner(as_root=True)(far, "sh", "-c", SCRIPT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == expected("70000:80000", "60000:900")


@pytest.mark.parametrize("way", ["fuse", "unpack", "copy"])
def test_a_smaller_namespace_has_another_last_id(far: Path, way: str, tmp_path: Path) -> None:
    """Root of a rootless container, say, which has the ids 0 to 999 only, and fewer groups."""
    if os.geteuid() != 0:
        pytest.skip("only root can map ids that are nobody's")
    command = ["unshare", "-U", "sh", "-c", 'read mapped; exec "$@"', "-"]
    with subprocess.Popen(
        [*command, far, "sh", "-c", SCRIPT],
        env={**os.environ, "DOCKERC_FORCE": way, "XDG_CACHE_HOME": str(tmp_path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        outside = Path("/proc/self/ns/user").readlink()
        own = Path(f"/proc/{process.pid}")
        assert wait_for(lambda: (own / "ns/user").readlink() != outside)
        (own / "uid_map").write_text("0 0 1\n1 200000 999")
        (own / "gid_map").write_text("0 0 1\n1 200000 949")
        told, problems = process.communicate("\n", timeout=60)
    assert (process.returncode, problems) == (0, "")
    assert told.splitlines() == expected("999:949", "999:900")


FAILING = {
    "a file": ("file", "/data/file"),
    "a size that is none": ("inside", "/data/inside:size=bogus"),
}


@pytest.mark.parametrize("wrong", FAILING)
def test_a_mount_that_fails_changes_no_owner_in_a_volume(
    deb: Path, run_as_user: Runner, shared: Path, wrong: str
) -> None:
    need("newuidmap")
    assert run_as_user("mkdir", shared / "inside").returncode == 0
    assert run_as_user("touch", shared / "file").returncode == 0
    name, tmpfs = FAILING[wrong]
    before = (shared / name).stat()
    done = run_as_user(deb, "-u", "33", "-v", f"{shared}:/data", "--tmpfs", tmpfs, "true")
    assert done.returncode == 125 and "cannot mount tmpfs" in done.stderr
    after = (shared / name).stat()
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


def test_a_tmpfs_belongs_to_root_or_to_whom_it_is_given(deb: Path, run_as_user: Runner) -> None:
    need("newuidmap")
    options = ["-u", "33", "--tmpfs", "/own:uid=33,gid=33,mode=755", "--tmpfs", "/other"]
    done = run_as_user(deb, *options, "stat", "-c", "%u:%g %a", "/own", "/other")
    assert done.stdout == "33:33 755\n0:0 1777\n", done.stderr
