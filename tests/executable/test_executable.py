"""inspect, extract and replace on our files and on those of dockerc 0.3; and bad input."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import BinaryIO

import pytest
from corpus import CORPUS
from layout import write_layout
from support import FIXTURES, dockerc, failed, need

from toolkit.executable.executable import FooterFields, write_executable
from toolkit.executable.integrity import Integrity
from toolkit.executable.stub import read_stub

HELLO = FIXTURES / "hello"


def test_inspect_tells_footer_architecture_and_config(hello: Path) -> None:
    told = json.loads(dockerc("inspect", "--json", hello).stdout)
    assert told["footer"]["generation"] == 2
    assert told["footer"]["offset"] % 4096 == 0
    assert told["footer"]["require_mapped_uids"] is False
    assert told["stub"]["architecture"] in ("x86_64", "aarch64")
    assert told["squashfs"]["compression"] == "zstd"
    assert told["config"]["process"]["args"][0] == "/bin/hello"
    table = dockerc("inspect", hello).stdout
    assert "offset" in table and "command  /bin/hello" in table


def test_extract_gives_exactly_the_squashfs(hello: Path, tmp_path: Path) -> None:
    need("unsquashfs")
    dockerc("extract", hello, tmp_path / "out.sqfs")
    footer = json.loads(dockerc("inspect", "--json", hello).stdout)
    start, size = footer["footer"]["offset"], footer["squashfs"]["bytes_used"]
    data = (tmp_path / "out.sqfs").read_bytes()
    assert data == hello.read_bytes()[start : start + size]
    assert len(data) == size
    listed = subprocess.run(
        ["unsquashfs", "-l", tmp_path / "out.sqfs"], check=True, capture_output=True, text=True
    )
    assert "squashfs-root/config.json" in listed.stdout


def test_replace_keeps_payload_and_flag(hello: Path, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", CORPUS["types and modes"])
    for app, flag in ((hello, False), (tmp_path / "owners", True)):
        if flag:
            dockerc("build", f"oci:{layout}", "-o", app)
        dockerc("replace", app, tmp_path / "new")
        assert (tmp_path / "new").read_bytes() == app.read_bytes()
        told = json.loads(dockerc("inspect", "--json", tmp_path / "new").stdout)
        assert told["footer"]["require_mapped_uids"] is flag


def test_replace_takes_the_runtime_of_the_payload_s_architecture(tmp_path: Path) -> None:
    """On any host; what stood there before is of no account."""
    for architecture, machine in (("amd64", "x86_64"), ("arm64", "aarch64")):
        dockerc("build", f"oci:{HELLO}", "--arch", architecture, "-o", tmp_path / "app")
        whole = (tmp_path / "app").read_bytes()
        with (tmp_path / "app").open("r+b") as file:
            file.seek(1000)
            file.write(b"another version")
        dockerc("replace", tmp_path / "app", tmp_path / "new")
        assert (tmp_path / "new").read_bytes() == whole
        stub = read_stub(machine)
        assert whole.startswith(stub)


def test_replace_in_place_keeps_mode_owner_and_times(hello: Path, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.write_bytes(hello.read_bytes())
    (tmp_path / "link").symlink_to(app)
    for name in ("app", "link"):
        app.chmod(0o750)
        if os.geteuid() == 0:
            os.chown(app, 12, 34)
        os.utime(app, ns=(1_600_000_000_000_000_001, 1_500_000_000_000_000_001))
        before = app.stat()
        dockerc("replace", "--in-place", tmp_path / name)
        after = app.stat()
        assert after.st_ino != before.st_ino
        for member in ("st_mode", "st_uid", "st_gid", "st_mtime_ns"):
            assert getattr(after, member) == getattr(before, member), member
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("way", [[], ["--docker-archive"]])
def test_extract_does_not_destroy_the_executable(
    hello: Path, tmp_path: Path, way: list[str]
) -> None:
    app = tmp_path / "app"
    app.write_bytes(hello.read_bytes())
    (tmp_path / "link").symlink_to(app)
    for name in ("app", "link"):
        told = failed("extract", app, *way, tmp_path / name, status=2)
        assert "the executable itself" in told
    assert app.read_bytes() == hello.read_bytes()


def test_replace_in_place(hello: Path, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.write_bytes(hello.read_bytes())
    dockerc("replace", app, app)
    assert app.read_bytes() == hello.read_bytes()
    assert app.stat().st_mode & 0o111


def test_the_old_command_line_builds(tmp_path: Path) -> None:
    dockerc("--image", f"oci:{HELLO}", "--output", tmp_path / "app", "--arch", "arm64")
    dockerc(f"-ioci:{HELLO}", f"-o{tmp_path / 'glued'}", "--arch=arm64")
    assert (tmp_path / "glued").read_bytes() == (tmp_path / "app").read_bytes()
    told = json.loads(dockerc("inspect", "--json", tmp_path / "app").stdout)
    assert told["stub"]["architecture"] == "aarch64"
    assert told["squashfs"]["bytes_used"] == 8192


def test_the_mode_is_0755_less_umask(tmp_path: Path) -> None:
    for mask, mode in ((0o022, 0o755), (0o077, 0o700)):
        dockerc("build", f"oci:{HELLO}", "-o", tmp_path / "app", umask=mask)
        assert (tmp_path / "app").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("command", ["inspect", "extract", "replace"])
def test_what_is_no_executable_gets_a_sentence(tmp_path: Path, command: str) -> None:
    (tmp_path / "text").write_text("hello" * 100)
    (tmp_path / "empty").write_text("")
    os.mkfifo(tmp_path / "fifo")
    more = [] if command == "inspect" else [tmp_path / "out"]
    for name in ("text", "empty", "fifo", "missing", "."):
        told = failed(command, tmp_path / name, *more)
        assert str(tmp_path / name) in told
        assert not (tmp_path / "out").exists()
    failed(command, "/dev/zero", *more)


def test_an_existing_output_survives_a_failure(tmp_path: Path) -> None:
    output = tmp_path / "app"
    output.write_text("precious")
    words = ["build", f"oci:{HELLO}:nonsense", "-o", output]
    assert "no executable made by dockerc" in failed(*words)
    assert "it has latest" in failed(*words, "--force")
    assert output.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["app"]


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    assert "is no directory" in failed("build", f"oci:{HELLO}", "-o", tmp_path / "no/where/app")
    assert "is no directory" in failed("build", f"oci:{HELLO}", "-o", "/etc/passwd/app")
    assert "regular file" in failed("build", f"oci:{HELLO}", "-o", tmp_path)
    assert "regular file" in failed("build", f"oci:{HELLO}", "-o", "/dev/null")


@pytest.mark.root("mounting a small filesystem wants root")
def test_a_full_disk_gets_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", small], check=True)
    try:
        (small / "app").write_text("precious")
        told = failed("build", f"oci:{HELLO}", "-o", small / "app", "--force")
        assert "No space left" in told
        assert (small / "app").read_text() == "precious"
        assert [path.name for path in small.iterdir()] == ["app"]
    finally:
        subprocess.run(["umount", small], check=True)


def test_usage_errors_have_status_2(tmp_path: Path) -> None:
    assert "name one image" in failed("build", "-o", tmp_path / "app", status=2)
    for wrong in (["nonsense"], ["build", "--nonsense"], ["extract"]):
        done = dockerc(*wrong, check=False)
        assert done.returncode == 2 and "Traceback" not in done.stderr


def test_an_architecture_that_the_image_or_we_lack(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", CORPUS["times"])
    told = failed("build", f"oci:{layout}", "--arch", "arm64", "-o", tmp_path / "app")
    assert "amd64" in told
    told = failed("build", f"oci:{HELLO}", "--arch", "s390x", "-o", tmp_path / "app")
    assert "amd64 and arm64" in told


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097])
@pytest.mark.parametrize("integrity", [None, Integrity(b"{}")])
def test_each_part_is_where_the_format_says(
    tmp_path: Path, size: int, integrity: Integrity | None
) -> None:
    """docs/format.md: stub and payload each filled up with zeros to 4 KiB, hash tree, signed block,
    digest, footer."""
    stub, payload = b"\xaa" * 5000, b"\xbb" * size

    def write(file: BinaryIO) -> FooterFields:
        file.write(payload)
        return FooterFields(False, integrity)

    footer = write_executable(tmp_path / "app", stub, write)
    data = (tmp_path / "app").read_bytes()
    assert footer.offset == 8192 and data[:8192] == stub + bytes(8192 - len(stub))
    filled = payload + bytes(-size % 4096)
    assert data[8192:].startswith(filled)
    rest = data[8192 + len(filled) :]
    assert rest.endswith(footer.encode()) and len(footer.encode()) == footer.size == 16
    rest = rest[: -footer.size]
    if integrity is None:
        assert not rest
        return
    tree = 4096 if size > 4096 else 0
    assert len(rest) == tree + 4096 + 48
    assert rest[tree:].startswith(b"dcsigned")
    assert rest[-48:] == b"dcsha256" + hashlib.sha256(payload).digest() + bytes(8)
