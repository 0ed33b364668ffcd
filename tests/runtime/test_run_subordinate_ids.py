"""Where a user's subordinate ids are found: the files, and the service that nsswitch.conf names."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import Runner, need

pytestmark = [
    pytest.mark.root("mounts other files over those of /etc"),
    pytest.mark.peers,
]

OWNERS = "stat -c %u:%g /etc/shadow"
"""The files of shadow belong to the group 42: with one id all are root's."""
HIDE = """
cp /etc/subuid "$1/subuid"; cp /etc/subgid "$1/subgid"
: >"$1/empty"
for name in subuid subgid; do mount --bind "$1/empty" /etc/$name; done
"""
PLUGIN = """
#include <cstdlib>
#include <cstring>
extern "C" {
struct range { unsigned long start, count; };
int shadow_subid_has_range(const char *, unsigned long start, unsigned long count, int, bool *yes) {
    *yes = start >= 2000000 && start + count <= 2065536;
    return 0;
}
int shadow_subid_list_owner_ranges(const char *owner, int, struct range **ranges, int *count) {
    *count = !strcmp(owner, "dockerc-test");
    *ranges = (struct range *)malloc(sizeof(struct range));
    (*ranges)->start = 2000000, (*ranges)->count = 65536;
    return 0;
}
int shadow_subid_find_subid_owners(unsigned long, int, unsigned **, int *count) {
    return *count = 0;
}
}
"""
"""A service, as libsubid wants it: the user's range, which no file has."""
SERVICE = (
    HIDE
    + """
cp /etc/nsswitch.conf "$1/nsswitch.conf"; echo 'subid: test' >>"$1/nsswitch.conf"
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
libraries=$(dirname "$(ldconfig -p | sed -n 's/.* => //; /libc\\.so\\.6$/p' | head -n 1)")
mkdir "$1/more"
mount -t tmpfs none "$1/more"; mkdir "$1/more/upper" "$1/more/own"
cp "$1/libsubid_test.so" "$1/more/upper/"
layers=lowerdir=$libraries,upperdir=$1/more/upper,workdir=$1/more/own
mount -t overlay -o "$layers" none "$libraries"
"""
)


def changed(script: str, deb: Path, shared: Path) -> Any:
    """The start of an ordinary user after root's script, in a mount namespace of its own."""
    need("newuidmap", "getsubids")
    words = Runner(as_root=False).command(deb, "sh", "-c", OWNERS)
    whole = f'set -e\n{script}\nwork=$1; shift\nexec "$@"'
    return subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", whole, "sh", shared, *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DOCKERC_LOG": "debug"},
    )  # fmt: skip


def test_none(deb: Path, shared: Path) -> None:
    done = changed(HIDE, deb, shared)
    assert done.stdout == "0:0\n", done
    assert "range of ids mapped" not in done.stderr


def test_a_service_is_asked(deb: Path, shared: Path) -> None:
    need("g++")
    build = ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", shared / "libsubid_test.so"]
    subprocess.run(build, input=PLUGIN, text=True, check=True)
    done = changed(SERVICE, deb, shared)
    assert done.stdout == "0:42\n", done.stderr
    assert "range of ids mapped" in done.stderr
