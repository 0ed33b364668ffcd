"""Debian and Python images: pushed to a real registry, built from there, run, compared."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from images_support import docker_registry, skopeo_copy
from support import Runner, describe_tree, differences, dockerc, need

as_root = pytest.mark.root("mounts and owners want root")


@pytest.fixture(scope="module")
def registry(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that holds both images."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        for name in ("debian", "python"):
            source = f"oci:{images}/{name}:latest"
            skopeo_copy(source, f"docker://{address}/{name}:12", "--dest-tls-verify=false")
        yield address


@pytest.fixture(scope="module", params=["debian", "python"])
def built(
    request: pytest.FixtureRequest, registry: str, images: Path, place: Path
) -> tuple[Path, Path]:
    """An executable from the registry, and the layout of the same image."""
    output = place / f"from-registry-{request.param}"
    told = dockerc("build", "--image", f"docker://{registry}/{request.param}:12", "-o", output)
    assert told.stdout == ""
    return output, images / request.param


def test_they_run(built: tuple[Path, Path], run: Runner) -> None:
    app, layout = built
    assert "bookworm" in run(app, "cat", "/etc/os-release").stdout
    if layout.name == "python":
        done = run(app, "python3", "-c", "import numpy; print(numpy.arange(3).sum())")
        assert (done.stdout, done.returncode) == ("3\n", 0)
        assert run(app).stdout == "3\n", "the image's own command, in its own directory"
        assert run(app, "pwd").stdout == "/app\n"


@as_root
def test_every_reader_sees_umoci_s_tree(built: tuple[Path, Path], tmp_path: Path) -> None:
    need("umoci", "unsquashfs", "squashfuse")
    app, layout = built
    image = tmp_path / "app.sqfs"
    dockerc("extract", app, image)
    unpack = ["umoci", "unpack", "--image", f"{layout}:latest", tmp_path / "bundle"]
    subprocess.run(unpack, check=True, capture_output=True)
    expected = describe_tree(tmp_path / "bundle" / "rootfs")
    assert len(expected) > 5000

    subprocess.run(["unsquashfs", "-stat", image], check=True, capture_output=True)
    out = tmp_path / "out"
    command = ["unsquashfs", "-no-progress", "-d", out, image]
    subprocess.run(command, check=True, capture_output=True)
    assert differences(expected, describe_tree(out / "rootfs")) == []

    mount = tmp_path / "mount"
    mount.mkdir()
    for command in (["mount", "-o", "loop,ro", image, mount], ["squashfuse", image, mount]):
        subprocess.run(command, check=True)
        try:
            assert differences(expected, describe_tree(mount / "rootfs")) == []
        finally:
            subprocess.run(["umount", mount], check=True)
