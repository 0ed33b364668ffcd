"""What works on every system: an image through all commands that need no Linux.

The jobs of .github/workflows/ci.yml run these on macOS and Windows, and .ci/run as there
(tests/hosts).
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from odd_image import LARGE, LINES, contents, everything, odd_image
from support import FIXTURES, dockerc, failed


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything was done with an image."""
    place = tmp_path_factory.mktemp("portable")
    made = everything(place / "work", odd_image(place / "layout"), {})
    assert made["passwd"] == b"root:x:0:0::/root:/bin/sh\n"
    return place / "work"


def test_an_executable_is_the_same_each_time(work: Path) -> None:
    app = (work / "app").read_bytes()
    assert app[:4] == b"\x7fELF" and app == (work / "replaced").read_bytes()
    squashfs = (work / "squashfs").read_bytes()
    assert squashfs[:4] == b"hsqs" and squashfs in app


def test_the_layers_have_every_byte(work: Path) -> None:
    """Whatever the files of this system are like, the image's are in its layer as they were."""
    index = json.loads((work / "layout/index.json").read_bytes())
    blobs = work / "layout/blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"].partition(":")[2]).read_bytes())
    layer = (blobs / manifest["layers"][0]["digest"].partition(":")[2]).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as archive:
        found = {each.name: each for each in archive}
        assert found["deep/er/lines"].mode == 0o640
        assert (found["usr"].mode, found["usr"].uid, found["usr"].gid) == (0o4755, 7, 8)
        assert found["link"].linkname == "/deep/er/lines"
        names = {"odd/Case", "odd/case", "odd/a:stream", "odd/con.txt", "odd/pipe"}
        assert names < found.keys()
        lines, large = archive.extractfile("deep/er/lines"), archive.extractfile("large")
        assert lines and lines.read() == LINES
        assert large and large.read() == LARGE


def test_an_extracted_image_has_the_same_files(work: Path, tmp_path: Path) -> None:
    for source in (f"oci:{work / 'layout'}", f"docker-archive:{work / 'archive'}"):
        dockerc("build", "-q", source, "-o", tmp_path / "app")
        for path in ("/odd/case", "/odd/a:stream", "/link"):
            said = [dockerc("cat", app, path).stdout for app in (work / "app", tmp_path / "app")]
            assert said[0] and said[0] == said[1]


@pytest.mark.parametrize("form", ["--rootfs", "--bundle"])
def test_files(work: Path, tmp_path: Path, form: str) -> None:
    dockerc("extract", work / "app", form, tmp_path / "out")
    top = tmp_path / "out" / ("rootfs" if form == "--bundle" else "")
    assert (top / "deep/er/lines").read_bytes() == LINES
    assert (top / "large").read_bytes() == LARGE == (top / "deep/other-name").read_bytes()
    assert (top / "odd/fine").read_bytes() == b"8"
    assert not [name for name in contents(tmp_path) if "escaped" in Path(name).name[:7]]


def test_what_is_there_is_replaced_or_refused(tmp_path: Path) -> None:
    hello = f"oci:{FIXTURES / 'hello'}"
    for _ in range(2):
        dockerc("build", "-q", hello, "-o", tmp_path / "app")
    whole = (tmp_path / "app").read_bytes()
    (tmp_path / "directory").mkdir()
    for place in ("directory", "none/app"):
        assert "cannot write there" in failed("build", "-q", hello, "-o", tmp_path / place)
    assert "no dockerc executable" in failed("inspect", Path(__file__)).replace("not a", "no")
    assert (tmp_path / "app").read_bytes() == whole
    assert {path.name for path in tmp_path.iterdir()} == {"app", "directory"}


def test_a_damaged_executable_is_told(work: Path, tmp_path: Path) -> None:
    data = bytearray((work / "app").read_bytes())
    data[data.index(b"hsqs") + 200_000] ^= 1
    (tmp_path / "app").write_bytes(data)
    assert "damaged" in failed("verify", tmp_path / "app")


def test_the_cache_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dockerc("build", "-q", f"oci:{FIXTURES / 'hello'}", "-o", tmp_path / "app")
    assert "removed 2 packs" in dockerc("cache", "prune").stdout
    assert list((tmp_path / "dockerc" / "packs").iterdir()) == []


def test_files_are_added(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(LINES)
    words = ["--add-file", f"{tmp_path / 'lines'}:/added"]
    dockerc("build", "-q", f"oci:{FIXTURES / 'hello'}", "-o", tmp_path / "app", *words)
    dockerc("cp", f"{tmp_path / 'app'}:/added", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == LINES
