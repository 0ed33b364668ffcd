"""What works where there is no Linux: the tool in a Python that lacks what macOS or Windows lack.

tests/hosts/sitecustomize.py takes it away. The real systems are tested by jobs of
.github/workflows/ci.yml.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from odd_image import LARGE, LINES, contents, everything, odd_image
from support import TESTS, TOOL, dockerc, failed

from toolkit.files.lock import lock
from toolkit.files.open_directory import OpenDirectory

HOSTS = ["macos", "windows"]


def on(host: str, cache: Path, **variables: str) -> dict[str, Any]:
    """Options to run the tool as on that system."""
    place = {"PYTHONPATH": str(TESTS / "hosts"), "DOCKERC_TEST_HOST": host}
    return {"env": os.environ | place | {"XDG_CACHE_HOME": str(cache)} | variables}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    return odd_image(tmp_path_factory.mktemp("image") / "layout")


@pytest.mark.parametrize("host", HOSTS)
def test_the_same_bytes_as_on_linux(tmp_path: Path, image: str, host: str) -> None:
    here = everything(tmp_path / "here", image, on("", tmp_path / "cache-here"))
    there = everything(tmp_path / "there", image, on(host, tmp_path / "cache-there"))
    assert there == here
    caches = [contents(tmp_path / name) for name in ("cache-here", "cache-there")]
    assert caches[0].keys() == caches[1].keys()
    assert len([name for name in caches[1] if name.endswith(".pack")]) == 2
    again = dockerc("build", "-q", image, "-o", tmp_path / "new", check=False, **on(host, tmp_path))
    assert again.returncode == 0 and (tmp_path / "new").read_bytes() == here["app"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("form", ["--rootfs", "--bundle"])
def test_files_of_an_image(tmp_path: Path, image: str, host: str, form: str) -> None:
    """Content is kept whole; what a system cannot have is counted, and never put elsewhere."""
    options = on(host, tmp_path / "cache")
    dockerc("build", "-q", image, "-o", tmp_path / "app", **options)
    (tmp_path / "files").mkdir()
    told = dockerc("extract", tmp_path / "app", form, tmp_path / "files", **options).stderr
    top = tmp_path / "files" / ("rootfs" if form == "--bundle" else "")
    assert (top / "deep/er/lines").read_bytes() == LINES
    assert (top / "large").read_bytes() == LARGE
    assert (top / "large").stat().st_nlink == 2
    assert (top / "odd/fine").read_bytes() == b"8"
    assert sum((top / "odd" / name).exists() for name in ("CASE", "Case", "case")) == 1
    odd = {path.name for path in (top / "odd").iterdir()} - {"CASE", "Case", "case", "fine"}
    unusual = {"a:stream", "con.txt", "..\\..\\escaped", "dot."}
    assert odd == (set() if host == "windows" else unusual)
    assert "not kept: 1 pipes" in told
    if host == "windows":
        assert "not kept: 1 symlinks" in told and not (top / "link").is_symlink()
        assert "names that this system does not have, or does not tell from others" in told
    else:
        assert str((top / "link").readlink()) == "/deep/er/lines"
        assert (top / "deep/er/lines").stat().st_mode & 0o777 == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"app", "cache", "files"}


@pytest.mark.parametrize("host", HOSTS)
def test_what_killed_builds_leave_goes(tmp_path: Path, image: str, host: str) -> None:
    left, held = tmp_path / ".app.00000000.dockerc", tmp_path / ".app.11111111.dockerc"
    left.write_bytes(b"left")
    with held.open("wb") as other:
        lock(other.fileno(), wait=False)
        dockerc("build", "-q", image, "-o", tmp_path / "app", **on(host, tmp_path / "cache"))
        assert not left.exists() and held.exists()
    dockerc("build", "-q", image, "-o", tmp_path / "app", **on(host, tmp_path / "cache"))
    assert not held.exists()


@pytest.mark.parametrize("host", HOSTS)
def test_builds_at_the_same_time(tmp_path: Path, image: str, host: str) -> None:
    options = on(host, tmp_path / "cache")
    words = ["build", "-q", image, "-o"]
    started = [
        subprocess.Popen([*TOOL, *words, str(tmp_path / str(n))], **options) for n in range(3)
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert len({(tmp_path / str(number)).read_bytes() for number in range(3)}) == 1
    names = [path.name for path in (tmp_path / "cache/dockerc/packs").iterdir()]
    assert len(names) == 2 and all(name.endswith(".pack") for name in names)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
def test_consoles_without_all_letters(tmp_path: Path, image: str, encoding: str) -> None:
    options = on("windows", tmp_path / "cache", PYTHONIOENCODING=encoding)
    app = tmp_path / "Ünicode → app"
    dockerc("build", image, "-o", app, encoding=encoding, **options)
    said = dockerc("inspect", app, encoding=encoding, **options).stdout
    assert "\\u65e5\\u672c" in said
    gone = dockerc("inspect", tmp_path / "→", encoding=encoding, check=False, **options)
    assert gone.returncode == 1 and "\\u2192" in gone.stderr


@pytest.mark.parametrize("host", HOSTS)
def test_what_needs_linux_says_so(tmp_path: Path, image: str, host: str) -> None:
    options = on(host, tmp_path / "cache")
    dockerc("build", "-q", image, "-o", tmp_path / "app", **options)
    assert "run on Linux only" in failed("ps", **options)
    (tmp_path / "at").mkdir()
    assert "only Linux can mount" in failed("mount", tmp_path / "app", tmp_path / "at", **options)


@pytest.mark.parametrize(
    "name",
    ["a:b", "a\\b", "..\\a", "CON", "con.txt", "Lpt1", "com¹.x", "a.", "a ", "a?", "a*", "\x01"],
)
def test_names_that_windows_takes_for_something_else(tmp_path: Path, name: str) -> None:
    place = OpenDirectory(tmp_path, None)
    for make in (place.make, lambda name: place.create(name, 0o600), lambda name: place.name(name)):
        with pytest.raises(OSError, match="no such names"):
            make(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.b", "console", "com", "lpt10", ".a", "a b", "ü"])
def test_names_that_are_files_everywhere(tmp_path: Path, name: str) -> None:
    OpenDirectory(tmp_path, None).write(name, b"data")
    assert (tmp_path / name).read_bytes() == b"data"


def outcome(host: str, code: str) -> str:
    command = [sys.executable, "-c", f"import os\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, **on(host, Path("/nonexistent")))
    return done.stderr.splitlines()[-1].partition(":")[0] if done.returncode else "done"


@pytest.mark.parametrize(
    ("code", "windows", "macos"),
    [
        ("import fcntl", "ModuleNotFoundError", "done"),
        ("os.fork", "AttributeError", "done"),
        ("os.O_TMPFILE", "AttributeError", "AttributeError"),
        ("os.stat('/proc')", "FileNotFoundError", "FileNotFoundError"),
        ("f = open('new', 'w'); os.replace('new', 'other')", "PermissionError", "done"),
        ("f = open('new', 'w'); os.unlink('new')", "PermissionError", "done"),
        ("open('old', 'w'); open('new', 'w'); os.rename('new', 'old')", "FileExistsError", "done"),
        ("os.open('.', os.O_RDONLY)", "PermissionError", "done"),
        ("open('a:b', 'w')", "OSError", "done"),
        ("open('a', 'w'); os.open('A', os.O_CREAT | os.O_EXCL)", *["FileExistsError"] * 2),
        ("os.mkdir('d'); os.mkdir('e'); os.replace('d', 'e')", "PermissionError", "done"),
    ],
)
def test_the_imitation_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, windows: str, macos: str
) -> None:
    for host, expected in (("windows", windows), ("macos", macos), ("", "done")):
        (tmp_path / f"on-{host}").mkdir()
        monkeypatch.chdir(tmp_path / f"on-{host}")
        assert outcome(host, code) == expected


def test_locks_wait_for_one_another(tmp_path: Path) -> None:
    """As on Windows, where LockFile itself does not wait."""
    code = (
        "import os, sys\nfrom toolkit.files.lock import lock\n"
        "d = os.open(sys.argv[1], os.O_RDWR | os.O_BINARY)\nlock(d, wait=True)\n"
        "print('locked', os.lseek(d, 0, os.SEEK_CUR), flush=True)\n"
    )
    (tmp_path / "file").touch()
    with (tmp_path / "file").open("rb") as held:
        lock(held.fileno(), wait=False)
        waiting = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "file")],
            stdout=subprocess.PIPE,
            text=True,
            **on("windows", tmp_path),
        )
        time.sleep(0.5)
        assert waiting.poll() is None
    assert waiting.communicate()[0] == "locked 0\n"
