"""`dockerc build` from where images live: its options for registries, engines and platforms."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from images_support import FIXTURE, Layout, lying_registry, on, read_image, skopeo_copy
from registry_support import Authority
from support import dockerc, failed

from toolkit.errors import DockercError, UsageError
from toolkit.images.platforms import parse_platform_name

HELLO = f"oci:{FIXTURE}"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path


def architecture_of(app: Path) -> str:
    return str(json.loads(dockerc("inspect", "--json", app).stdout)["stub"]["architecture"])


def test_platform(tmp_path: Path) -> None:
    app = tmp_path / "app"
    dockerc("build", HELLO, "-o", app, "--platform", "linux/arm64/v8")
    assert architecture_of(app) == "aarch64"
    for text in ("arm64", "linux/", "linux/a/b/c", "linux/arm 64", ""):
        with pytest.raises(UsageError, match="is not a platform"):
            parse_platform_name(text)
    assert "not for windows" in failed(
        "build", HELLO, "-o", app, "--platform", "windows/amd64", status=2
    )
    two = ["--platform", "linux/amd64", "--arch", "amd64"]
    assert "name one of" in failed("build", HELLO, "-o", app, *two, status=2)


def test_all_platforms(tmp_path: Path) -> None:
    dockerc("build", HELLO, "-o", tmp_path / "app", "--all-platforms")
    assert architecture_of(tmp_path / "app-amd64") == "x86_64"
    assert architecture_of(tmp_path / "app-arm64") == "aarch64"
    assert not (tmp_path / "app").exists()


def test_all_platforms_of_an_image_that_has_one_or_none(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    name = layout.write(layout.index(on(layout.manifest(), "arm64")))
    dockerc("build", name, "-o", tmp_path / "app", "--all-platforms")
    assert not (tmp_path / "app-amd64").exists() and (tmp_path / "app-arm64").exists()
    name = layout.write(layout.index(on(layout.manifest(), "s390x")))
    said = failed("build", name, "-o", tmp_path / "other", "--all-platforms")
    assert "is an image for linux/s390x" in said


def test_options_reach_the_registry(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.write(layout.index(on(layout.manifest(), "amd64")))
    authority = Authority(tmp_path / "authority")
    options = ["-o", tmp_path / "app", "--arch", "amd64"]
    with lying_registry(layout.path, authority.server_tls("registry")) as registry:
        name = f"{registry.address}/app"
        assert "is not trusted" in failed("build", name, *options)
        dockerc("build", name, *options, "--cert-dir", authority.directory)
        dockerc("build", name, *options, "--no-tls-verify")
        dockerc("build", name, *options, "--tls-verify=false")
        for asked_for in ("--tls-verify", "--tls-verify=true"):
            assert "is not trusted" in failed("build", name, *options, asked_for)
        said = failed("build", name, *options, "--creds", "nocolon", status=2)
        assert "USER:PASSWORD" in said and "nocolon" not in said


def test_directory(tmp_path: Path) -> None:
    skopeo_copy(HELLO, f"dir:{tmp_path / 'all'}", "--all")
    skopeo_copy(HELLO, f"dir:{tmp_path / 'one'}")
    assert read_image(f"dir:{tmp_path / 'all'}") == read_image(HELLO)
    assert read_image(f"dir:{tmp_path / 'one'}")[1] == read_image(HELLO)[1]
    dockerc("build", f"dir:{tmp_path / 'all'}", "-o", tmp_path / "app", "--all-platforms")
    assert os.access(tmp_path / "app-arm64", os.X_OK)


def test_directories_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DockercError, match="is not a directory"):
        read_image(f"dir:{tmp_path / 'none'}")
    with pytest.raises(DockercError, match=r"it has no manifest\.json"):
        read_image(f"dir:{tmp_path}")
    skopeo_copy(HELLO, f"dir:{tmp_path / 'one'}")
    layer = max((tmp_path / "one").iterdir(), key=lambda path: path.stat().st_size)
    data = layer.read_bytes()
    for spoiled, sentence in (
        (data[:-1], "is truncated"),
        (data[:-1] + bytes([data[-1] ^ 1]), "does not match its digest"),
    ):
        layer.write_bytes(spoiled)
        with pytest.raises(DockercError, match=sentence):
            read_image(f"dir:{tmp_path / 'one'}")
    layer.unlink()
    with pytest.raises(DockercError, match="is incomplete: it lacks the blob"):
        read_image(f"dir:{tmp_path / 'one'}")
