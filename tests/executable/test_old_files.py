"""Files as dockerc 0.3 made them: every command works on each, and after replace each runs.

Real parts: umoci's bundle, rootless and as root, mksquashfs's image behind a stub of any length,
each footer, its padding of 0xaa, and the eight stale bytes that its own `replace` left.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from support import FIXTURES, Runner, describe_tree, differences, dockerc, failed, need

from toolkit.executable.executable import open_executable

HELLO = FIXTURES / "hello"
STUB_SIZE = 54_321
FOOTERS = {
    "0.3": lambda offset: struct.pack("<Q?", offset, False) + b"\xaa" * 7,
    "0.3, mapped": lambda offset: struct.pack("<Q?", offset, True) + b"\xaa" * 7,
    "0.3, replaced": lambda offset: b"\x13" * 8 + struct.pack("<Q?", offset, False) + b"\xaa" * 7,
    "first": lambda offset: struct.pack(">Q", offset),
}


one_is_enough = pytest.mark.parametrize("old", ["0.3"], indirect=True)


@pytest.fixture(scope="session", params=[*FOOTERS, "0.3, unpacked by root"])
def old(request: pytest.FixtureRequest, place: Path) -> Path:
    """An executable of that generation; its stub is an x86-64 header and noise."""
    need("umoci", "mksquashfs", "skopeo")
    rootless = request.param in FOOTERS
    if not rootless and os.geteuid() != 0:
        pytest.skip("unpacking with owners wants root")
    base = place / f"old-{request.param.replace(', ', '-')}"
    base.mkdir()
    app, bundle, image = base / "app", base / "bundle", f"{base}/image:latest"
    copy = ["skopeo", "copy", "--insecure-policy", "--override-arch", "amd64", f"oci:{HELLO}"]
    unpack = ["umoci", "unpack", *["--rootless"] * rootless, "--image", image, bundle]
    squash = ["mksquashfs", bundle, app, "-comp", "zstd", "-offset", str(STUB_SIZE), "-noappend"]
    squash += ["-force-uid", "0", "-force-gid", "0"] * rootless
    for command in ([*copy, f"oci:{image}"], unpack, squash):
        subprocess.run(command, check=True, capture_output=True)
    header = b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + struct.pack("<H", 62)
    with app.open("r+b") as file:
        file.write(header + os.urandom(STUB_SIZE - len(header)))
        file.seek(0, 2)
        file.write(FOOTERS.get(request.param, FOOTERS["0.3"])(STUB_SIZE))
    return app


def flag(app: Path) -> str:
    return str(dockerc("inspect", "-f", "{{.Footer.RequireMappedUids}}", app).stdout)


def test_inspect(old: Path) -> None:
    told = json.loads(dockerc("inspect", "--json", old).stdout)
    assert told["footer"]["offset"] == STUB_SIZE
    kind = old.parent.name
    assert told["footer"]["generation"] == (1 if "first" in kind else 2)
    assert told["footer"]["require_mapped_uids"] is ("mapped" in kind)
    assert told["footer"]["padding"] >= (8 if "replaced" in kind else 0)
    assert told["stub"]["architecture"] == "x86_64" and told["stub"]["current"] is False
    assert told["image"]["args"][0] == "/bin/hello" and told["image"]["entrypoint"] is None
    assert told["space"]["largest"][0]["path"] == "/bin/hello"
    assert "not made by this dockerc" in dockerc("inspect", old).stdout


def test_looking_inside(old: Path) -> None:
    bundle = old.parent / "bundle"
    names = sorted(path.name for path in (bundle / "rootfs/bin").iterdir())
    assert dockerc("ls", old, "/bin").stdout.split() == names
    tool = [sys.executable, "-c", "from toolkit.cli import main; main()"]
    done = subprocess.run([*tool, "cat", old, "/bin/hello"], check=True, capture_output=True)
    assert done.stdout == (bundle / "rootfs/bin/hello").read_bytes()
    assert "no SHA-256 was recorded" in dockerc("verify", old).stdout
    listed = json.loads(dockerc("ls", "-R", "--json", old).stdout)
    assert len(listed) == len(describe_tree(bundle / "rootfs")) - 1
    config = dockerc("inspect", "--config", old).stdout
    assert config == (bundle / "config.json").read_text()


def test_extract(old: Path, tmp_path: Path) -> None:
    dockerc("extract", old, tmp_path / "out.sqfs")
    data = (tmp_path / "out.sqfs").read_bytes()
    assert data == old.read_bytes()[STUB_SIZE : STUB_SIZE + len(data)]
    assert len(data) == struct.unpack_from("<Q", data, 40)[0]
    dockerc("extract", old, "--rootfs", tmp_path / "tree", "--privileged-files")
    if os.geteuid() == 0:
        theirs = describe_tree(old.parent / "bundle" / "rootfs")
        ours = describe_tree(tmp_path / "tree")
        # The top is its owner's alone, whatever the image says of its root.
        assert (ours.pop(".")[0], theirs.pop(".")[0]) == ("0o40700", "0o40755")
        assert differences(ours, theirs) == []


def test_an_image_again(old: Path, run: Runner, shared: Path) -> None:
    dockerc("extract", old, "--oci", shared / "layout")
    dockerc("build", f"oci:{shared}/layout", "-o", shared / "built")
    assert "Hello from dockerc" in run(shared / "built").stdout


@pytest.mark.root("cgroup v2 must be mounted")
def test_a_bundle_runs(old: Path, shared: Path) -> None:
    need("crun")
    dockerc("extract", old, "--bundle", shared / "bundle")
    crun = ["crun", "--cgroup-manager=disabled", "--root", str(shared / "state"), "run"]
    command = [*crun, "-b", str(shared / "bundle"), "dockerc-old"]
    script = 'mount -t cgroup2 none /sys/fs/cgroup; exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *command],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    assert "Hello from dockerc" in done.stdout, done.stderr


def test_a_docker_archive_is_built_again(old: Path, run: Runner, shared: Path) -> None:
    dockerc("extract", old, "--docker-archive", shared / "archive")
    dockerc("build", f"docker-archive:{shared}/archive", "-o", shared / "built")
    assert "Hello from dockerc" in run(shared / "built").stdout


def test_replace(old: Path, run: Runner, shared: Path) -> None:
    new = shared / "new"
    dockerc("replace", old, new)
    told = json.loads(dockerc("inspect", "--json", new).stdout)
    assert told["footer"]["offset"] % 4096 == 0 and told["footer"]["generation"] == 2
    assert told["stub"]["current"] is True
    assert flag(new) == flag(old)
    for app in (old, new):
        dockerc("extract", app, shared / f"{app.name}.sqfs")
    payload = (shared / f"{old.name}.sqfs").read_bytes()
    assert (shared / "new.sqfs").read_bytes() == payload
    with open_executable(new) as executable:
        assert executable.signed_block is not None
        padding = new.read_bytes()[executable.payload_end : executable.tree_offset]
        assert not any(padding), "stale bytes are gone"
    assert "SHA-256 is as recorded" in dockerc("verify", new).stdout
    done = run(new)
    assert "Hello from dockerc" in done.stdout, done.stderr


def test_edit(old: Path, run: Runner, shared: Path) -> None:
    """Before its runtime is replaced, which stays what it was."""
    edited, new = shared / "edited", shared / "new"
    dockerc("edit", old, edited, "-e", "BAKED=in", "--entrypoint", "/bin/hello env")
    assert edited.read_bytes()[:STUB_SIZE] == old.read_bytes()[:STUB_SIZE]
    assert flag(edited) == flag(old)
    assert "SHA-256 is as recorded" in dockerc("verify", edited).stdout
    dockerc("replace", edited, new)
    assert "BAKED=in" in run(new).stdout


def test_diff(old: Path, shared: Path) -> None:
    """Of an old file and what replace makes of it: footer and runtime, nothing else."""
    assert dockerc("diff", old, old).stdout == ""
    dockerc("replace", old, shared / "new")
    done = dockerc("diff", "--json", old, shared / "new", check=False)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    new = int(dockerc("inspect", "-f", "{{.Footer.Offset}}", shared / "new").stdout)
    assert told["footer"]["offset"] == [STUB_SIZE, new]
    assert ("generation" in told["footer"]) == ("first" in old.parent.name)
    assert list(told["stub"]) == ["sha256"]
    assert (told["config"], told["files"]) == ({}, [])
    lines = dockerc("diff", old, shared / "new", check=False).stdout
    assert f"footer offset: {STUB_SIZE} -> {new}\n" in lines and "stub sha256: " in lines


@one_is_enough
def test_many_in_place(old: Path, shared: Path) -> None:
    apps = [shared / name for name in "abc"]
    for app in apps:
        app.write_bytes(old.read_bytes())
    dockerc("replace", "--in-place", *apps)
    assert len({app.read_bytes() for app in apps}) == 1
    assert apps[0].stat().st_mode & 0o111
    assert dockerc("inspect", "-f", "{{.Stub.Current}}", apps[2]).stdout == "true\n"
    assert dockerc("diff", *apps[:2]).stdout == ""


@one_is_enough
def test_parts_of_different_architectures(old: Path, shared: Path) -> None:
    app = shared / "app"
    data = bytearray(old.read_bytes())
    data[18] = 183  # dockerc 0.3's replace put any stub before any payload
    app.write_bytes(data)
    told = failed("replace", app, shared / "new")
    assert "its runtime is for aarch64" in told and "its program is for x86_64" in told
    assert "--arch" in told and not (shared / "new").exists()
    told = dockerc("replace", "--arch", "amd64", app, shared / "new").stderr
    assert "warning" in told and "its runtime is for aarch64" in told
    assert dockerc("inspect", "-f", "{{.Stub.Architecture}}", shared / "new").stdout == "x86_64\n"


@one_is_enough
def test_a_stub_that_is_no_elf(old: Path, run: Runner, shared: Path) -> None:
    app = shared / "app"
    app.write_bytes(b"#!/bin/sh\n" + old.read_bytes()[10:])
    dockerc("replace", app, app)
    assert "Hello from dockerc" in run(app).stdout


@one_is_enough
def test_a_runtime_of_one_s_own(old: Path, shared: Path) -> None:
    ours = shared / "stub"
    dockerc("replace", old, shared / "new")
    offset = int(dockerc("inspect", "-f", "{{.Footer.Offset}}", shared / "new").stdout)
    ours.write_bytes((shared / "new").read_bytes()[:offset])
    dockerc("replace", "--runtime", ours, old, shared / "again")
    before = ours.read_bytes()
    assert "is the runtime itself" in failed("replace", "--runtime", ours, old, ours)
    assert ours.read_bytes() == before
    assert (shared / "again").read_bytes() == (shared / "new").read_bytes()
    (shared / "text").write_text("#!/bin/sh\n")
    assert "not an ELF program" in failed(
        "replace", "--runtime", shared / "text", old, shared / "x"
    )
    dynamic = Path("/bin/true")
    assert "dynamically" in failed("replace", "--runtime", dynamic, old, shared / "x")
    dockerc("replace", "--arch", "arm64", old, shared / "arm")
    offset = int(dockerc("inspect", "-f", "{{.Footer.Offset}}", shared / "arm").stdout)
    (shared / "armstub").write_bytes((shared / "arm").read_bytes()[:offset])
    told = failed("replace", "--runtime", shared / "armstub", old, shared / "x")
    assert "it is for aarch64, the payload for x86_64" in told
    assert not (shared / "x").exists()


@one_is_enough
@pytest.mark.parametrize("compression", ["gzip", "xz", "lz4", "lzo"])
def test_other_compressions(old: Path, shared: Path, compression: str) -> None:
    """mksquashfs's other methods; what we cannot unpack can still be taken out."""
    need("unsquashfs")
    app, bundle = shared / "app", old.parent / "bundle"
    squash = ["mksquashfs", bundle, app, "-comp", compression, "-offset", "4096", "-noappend"]
    subprocess.run(squash, check=True, capture_output=True)
    with app.open("r+b") as file:
        file.write(old.read_bytes()[:4096])
        file.seek(0, 2)
        file.write(FOOTERS["0.3"](4096))
    dockerc("extract", app, shared / "out.sqfs")
    subprocess.run(["unsquashfs", "-s", shared / "out.sqfs"], check=True, capture_output=True)
    if compression in ("lz4", "lzo"):
        assert f"compressed by {compression}, which is not supported" in failed("verify", app)
        return
    assert "whole" in dockerc("verify", app).stdout
    dockerc("edit", app, shared / "new", "--env", "A=1")
    assert "whole" in dockerc("verify", shared / "new").stdout
    dockerc("extract", shared / "new", shared / "new.sqfs")
    command = ["unsquashfs", "-no-progress", "-d", shared / "tree", shared / "new.sqfs"]
    subprocess.run(command, check=True, capture_output=True)
    assert "A=1" in json.loads((shared / "tree/config.json").read_text())["process"]["env"]
    theirs = describe_tree(bundle / "rootfs")
    assert differences(describe_tree(shared / "tree/rootfs"), theirs) == []
