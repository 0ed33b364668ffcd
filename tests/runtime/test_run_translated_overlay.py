"""Without user namespaces: --overlay keeps a tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import Runner
from test_run_translated import cache, run, start  # noqa: F401 - two fixtures
from translated import Translated


@pytest.fixture
def kept(shared: Path) -> Path:
    """A directory for --overlay of everybody's own."""
    return shared / "kept"


def test_an_overlay_keeps_what_was_written(
    run: Translated,  # noqa: F811
    deb: Path,
    kept: Path,
) -> None:
    script = (
        "cat /etc/motd | wc -l; test -e /bin/ls && echo there; stat -c %u:%g /srv/x; echo new"
        " >>/etc/motd; rm -f /bin/ls; touch /srv/x; chown 33:44 /srv/x; mkdir -p /srv/d/e"
    )
    options = ["--overlay", f"{kept}", "--", "sh", "-c"]
    first, again = (run(deb, *options, f"({script}) 2>/dev/null").stdout for _ in range(2))
    lines = int(first.split()[0])
    assert first.split()[1:] == ["there"] and again == f"{lines + 1}\n33:44\n"
    assert run(deb, *options, "rm /srv/x; touch /srv/x; stat -c %u /srv/x").stdout == "0\n"
    assert run(deb, *options, "stat -c %u /srv/x; ls /bin/ls").stdout == "0\n"
    assert run(deb, "ls", "/bin/ls").returncode == 0, "only what is kept has changed"


def test_an_overlay_is_of_one_run_and_of_one_kind(
    run: Translated,  # noqa: F811
    deb: Path,
    kept: Path,
) -> None:
    options = ("--overlay", f"{kept}", "--")
    with start(run, deb, "sleep 1000", options=options) as process:
        done = run(deb, *options, "true")
        assert done.returncode == 125 and "another run uses it" in done.stderr
        process.kill()
    # An unfinished tree is made anew.
    (kept / "tree").rename(kept / "tree.new")
    assert run(deb, *options, "cat", "/etc/debian_version").stdout.startswith("12")
    user = Runner(as_root=False)
    done = user(deb, *options, "true")
    assert done.returncode == 125 and "run without user namespaces wrote" in done.stderr
    other = ("--overlay", f"{kept}-2", "--")
    assert user(deb, *other, "true").returncode == 0
    done = run(deb, *other, "true")
    assert done.returncode == 125 and "run with an overlayfs wrote" in done.stderr


def test_an_overlay_s_directory_with_what_nobody_wrote(
    run: Translated,  # noqa: F811
    deb: Path,
    kept: Path,
    shared: Path,
) -> None:
    """Nothing is waited for, and nothing outside is written."""
    outside = shared / "outside"
    outside.write_bytes(b"precious")
    outside.chmod(0o666)
    words = ("--overlay", f"{kept}", "--", "true")
    assert run(deb, *words).returncode == 0
    (kept / "tree").rename(kept / "other")
    (kept / "tree.new").symlink_to(kept / "other")
    planted = kept / "owners.new"
    planted.symlink_to(outside)
    assert run(deb, *words).returncode == 0 and not (kept / "tree").is_symlink()
    planted.hardlink_to(outside)
    assert run(deb, *words).returncode == 0
    os.mkfifo(planted)
    assert run(deb, *words).returncode == 0, "no reader is waited for"
    planted.mkdir()
    assert run(deb, *words).returncode == 0
    for plant in (lambda path: path.symlink_to(outside), Path.mkdir):
        (kept / "owners").unlink()
        plant(kept / "owners")
        done = run(deb, *words)
        assert done.returncode == 125 and len(done.stderr.splitlines()) == 1
        assert "--overlay: owners in the directory" in done.stderr
    assert outside.read_bytes() == b"precious" and any((kept / "other").iterdir())


def test_owners_that_are_too_many(run: Translated, deb: Path, kept: Path) -> None:  # noqa: F811
    words = ("--overlay", f"{kept}", "--", "stat", "-c", "%u", "/etc/hostname")
    assert run(deb, *words).stdout == "0\n"
    record, most = 16, 64 << 20
    os.truncate(kept / "owners", record * most)
    done = run(deb, *words)
    assert done.returncode == 125 and "file too large" in done.stderr
    os.truncate(kept / "owners", record * (6 << 20))
    assert run(deb, *words).stdout == "0\n", "files come and go"
    assert (kept / "owners").stat().st_size == record, "those that are there now"


def test_what_is_kept_cannot_be_verified(
    run: Translated,  # noqa: F811
    deb: Path,
    kept: Path,
) -> None:
    assert run(deb, "--overlay", kept, "--", "true").returncode == 0
    done = run(deb, "--overlay", kept, "--", "true", env={"DOCKERC_VERIFY": "1"})
    assert done.returncode == 125 and "cannot be verified" in done.stderr
    assert run(deb, "true", env={"DOCKERC_VERIFY": "1"}).returncode == 0
