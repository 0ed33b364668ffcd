"""Root's starts in a chroot, as mock, schroot and many CI images make them: its root is no mount
point, and what it is in must not be touched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support import Runner

pytestmark = pytest.mark.root("only root may use chroot(2)")

CHROOT = """
set -e
root=$1 app=$2
shift 2
mount --make-r$PROPAGATION /
for name in usr bin sbin lib lib64 etc proc dev sys; do
    [ -d /$name ] || continue
    mkdir -p "$root/$name"
    mount --rbind /$name "$root/$name"
done
mkdir -p "$root/tmp" "$root/srv/here"
chmod 1777 "$root/tmp"
echo machine >"$root/../machine-file"
cp "$app" "$root/app"
cat /proc/self/mountinfo >"$root/../before"
status=0
chroot "$root" "$@" || status=$?
cat /proc/self/mountinfo >"$root/../after"
cmp "$root/../before" "$root/../after"
exit $status
"""
"""In a mount namespace of its own: make a chroot, start a command in it, and compare the mounts."""


@pytest.fixture(params=["shared", "private", "slave"])
def propagation(request: pytest.FixtureRequest) -> str:
    """Of the mounts around the chroot (mount_namespaces(7))."""
    return str(request.param)


def in_chroot(
    deb: Path, shared: Path, propagation: str, *words: str
) -> subprocess.CompletedProcess[str]:
    (shared / "root").mkdir(exist_ok=True)
    return subprocess.run(
        [
            "unshare", "-m", "--propagation", "private",
            "sh", "-c", CHROOT, "sh", str(shared / "root"), str(deb), *words,
        ],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PROPAGATION": propagation},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_it_runs_and_leaves_the_mounts_as_they_were(
    deb: Path, shared: Path, propagation: str
) -> None:
    script = "grep -c . /etc/debian_version; ls /; echo x >/tmp/new; cat /tmp/new"
    done = in_chroot(deb, shared, propagation, "/app", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "app" not in done.stdout.split() and done.stdout.endswith("x\n")


def test_volumes_are_the_chroot_s(deb: Path, shared: Path, propagation: str) -> None:
    words = ["env", "-C", "/srv/here", "/app", "-v", ".:/data", "-v", "/tmp:/other",
             "sh", "-c", "echo mine >/data/file; echo mine >/other/file"]  # fmt: skip
    done = in_chroot(deb, shared, propagation, *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert (shared / "root/srv/here/file").read_text() == "mine\n"
    assert (shared / "root/tmp/file").read_text() == "mine\n"


def test_no_way_leads_above_it(deb: Path, shared: Path) -> None:
    """CAP_SYS_CHROOT is among docker's; with it `..` of a root that has something above leads
    there."""
    script = (
        "use POSIX; opendir(my $d, '/') or die; mkdir '/tmp/x'; chroot '/tmp/x' or die $!;"
        " chdir($d) or die $!; chdir '..' for 1..50; chroot '.';"
        " print -e '/machine-file' || -e '/root/../machine-file' ? 'out' : 'in',"
        f" -e '{shared}/machine-file' ? 'out' : 'in', -e '/etc/debian_version' ? '' : 'lost';"
    )
    done = in_chroot(deb, shared, "shared", "/app", "perl", "-e", script)
    assert (done.returncode, done.stdout) == (0, "inin"), done


def test_the_doctor_and_joined_runs(deb: Path, shared: Path) -> None:
    done = in_chroot(deb, shared, "shared", "/app", "--dockerc-doctor")
    assert "this file would run by: FUSE, under an overlay" in done.stdout, done
    done = in_chroot(deb, shared, "shared", "/app", "--share", "cat", "/etc/debian_version")
    assert done.returncode == 0 and done.stdout.startswith("12"), done


def test_ordinary_users_have_no_namespaces_there(deb: Path, shared: Path) -> None:
    """The kernel refuses them (user_namespaces(7), EPERM)."""
    words = Runner(as_root=False).command("/app", "--dockerc-doctor")
    done = in_chroot(deb, shared, "private", *words)
    assert "user namespaces: operation not permitted" in done.stdout, done


def test_ordinary_users_have_their_paths_translated(
    deb: Path, shared: Path, propagation: str
) -> None:
    script = "id -u; ls -d /srv/here; echo new >/etc/new; cat /etc/new; ls -d /../machine-file"
    words = ["env", "XDG_CACHE_HOME=/tmp", *Runner(as_root=False).command("/app", "sh", "-c")]
    done = in_chroot(deb, shared, propagation, *words, script)
    assert "ls: cannot access '/srv/here'" in done.stderr and "not isolated" in done.stderr
    assert done.stdout == "0\nnew\n" and "machine-file'" in done.stderr, done


PLANTED = """
set -e
cp "$1" "$2/app"
printf 'token t\\0size 1\\0' >"$2/dockerc-vm"
cat /proc/self/mountinfo >"$2/../before"
unshare --pid --fork chroot "$2" /app --dockerc-version && status=0 || status=$?
cat /proc/self/mountinfo >"$2/../after"
cmp "$2/../before" "$2/../after"
exit $status
"""


def test_settings_of_a_machine_are_obeyed_in_a_machine_only(deb: Path, shared: Path) -> None:
    """The first process of a container without /proc is not the kernel's, whatever file it has."""
    (shared / "bare").mkdir()
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", PLANTED, "sh"]
    done = subprocess.run(
        [*words, str(deb), str(shared / "bare")], capture_output=True, text=True, timeout=60
    )
    assert "disk" not in done.stderr and "machine" not in done.stderr
    assert {each.name for each in (shared / "bare").iterdir()} == {"app", "dockerc-vm"}
    assert done.returncode in (0, 125), done.stderr
