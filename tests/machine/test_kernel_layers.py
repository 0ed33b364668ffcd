"""Kernels in images, as LinuxKit publishes them: /kernel and /kernel.tar."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest
from images_support import docker_registry, skopeo_copy
from kernel_support import (
    CONFIG,
    DRIVERS,
    arm64_image,
    bzimage,
    debian_kernel,
    modules,
    tar,
    unpacked_package,
)
from layout import file, symlink, tar_of, write_layout
from support import dockerc

from toolkit.errors import DockercError
from toolkit.images.auth.access import Access
from toolkit.machine.kernel import Kernel, find

PLAIN_HTTP = Access(tls_verify=False)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/dockerc/kernels"


def modules_tar(files: dict[str, bytes], release: str = "6.1.0-test") -> bytes:
    return tar({f"lib/modules/{release}/{name}": data for name, data in files.items()})


def image(path: Path, *layers: dict[str, bytes], architecture: str = "amd64") -> str:
    made = [tar_of(*(file(name, data) for name, data in layer.items())) for layer in layers]
    return f"oci:{write_layout(path, made, architecture=architecture)}"


def names(kernel: Kernel) -> list[str]:
    return [each.name for each in kernel.modules]


def test_a_kernel_and_its_modules(tmp_path: Path) -> None:
    whole = {"kernel": bzimage(), "kernel.tar": modules_tar(modules()), "kernel-dev.tar": b"x"}
    found = find(image(tmp_path / "image", whole), "x86_64")
    assert names(found) == DRIVERS and found.image.read_bytes() == bzimage()
    assert found == find(f"oci:{tmp_path}/image", "x86_64")
    packed = {"kernel": bzimage(), "kernel.tar": gzip.compress(modules_tar(modules()))}
    assert names(find(image(tmp_path / "packed", packed), "x86_64")) == DRIVERS


def test_later_layers_count(tmp_path: Path) -> None:
    old = {"kernel": bzimage("5.4"), "kernel.tar": modules_tar(modules(release="5.4"), "5.4")}
    new = {"./kernel": bzimage(), "boot/kernel": b"another", "config": CONFIG.encode()}
    layers = [old, new | {".wh.kernel.tar": b""}]
    with pytest.raises(DockercError, match="lacks squashfs, virtio_blk, virtio_console, virtio_p"):
        find(image(tmp_path / "whiteout", *layers), "x86_64")
    new["kernel.tar"] = modules_tar(modules())
    assert find(image(tmp_path / "new", old, new), "x86_64").release == "6.1.0-test"
    layers = [old, {".wh..wh..opq": b"", "etc/x": b""}]
    with pytest.raises(DockercError, match="has no file /kernel"):
        find(image(tmp_path / "opaque", *layers), "x86_64")


def test_the_image_of_the_architecture(tmp_path: Path) -> None:
    whole = {"kernel": gzip.compress(arm64_image())}
    reference = image(tmp_path / "arm", whole, architecture="arm64")
    assert find(reference, "aarch64").image.read_bytes() == arm64_image()
    with pytest.raises(DockercError, match="amd64"):
        find(reference, "x86_64")
    lying = image(tmp_path / "lying", {"kernel": bzimage()}, architecture="arm64")
    with pytest.raises(DockercError, match="is a kernel for x86_64, and the machine is for aarch"):
        find(lying, "aarch64")


@pytest.mark.parametrize(
    ("whole", "told"),
    [
        ({"etc/x": b""}, "has no file /kernel"),
        ({"kernel": b"no kernel"}, "is no Linux kernel"),
        ({"kernel": bzimage(), "kernel.tar": b"no tar"}, "/kernel.tar of .* no.* tar archive"),
        ({"kernel": bzimage(), "kernel.tar": b""}, "/kernel.tar of .* tar archive"),
        ({"kernel": bzimage(), "kernel.tar": modules_tar({"a/fuse.ko": b"x"})}, "is no module"),
    ],
)
def test_images_of_something_else(
    tmp_path: Path, whole: dict[str, bytes], told: str, cache: Path
) -> None:
    reference = image(tmp_path / "image", whole)
    with pytest.raises(DockercError, match=told) as caught:
        find(reference, "x86_64")
    assert str(tmp_path / "image") in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_registry_is_asked_once(tmp_path: Path) -> None:
    """The second start needs no network; after `cache prune` it does again."""
    whole = {"kernel": bzimage(), "kernel.tar": modules_tar(modules())}
    source = image(tmp_path / "image", whole)
    (tmp_path / "registry").mkdir()
    with docker_registry(tmp_path / "registry") as host:
        name = f"{host}/linuxkit/kernel:6"
        skopeo_copy(f"{source}:latest", f"docker://{name}", "--dest-tls-verify=false")
        first = find(f"docker://{name}", "x86_64", PLAIN_HTTP)
        assert names(first) == DRIVERS
        shutil.rmtree(tmp_path / "image")
    assert find(f"docker://{name}", "x86_64", PLAIN_HTTP) == first
    assert name in dockerc("cache", "ls").stdout
    assert dockerc("cache", "prune").stdout.startswith("removed 2 kernels")
    with pytest.raises(DockercError, match=host):
        find(f"docker://{name}", "x86_64", PLAIN_HTTP)


@pytest.mark.slow
def test_a_kernel_of_debian_in_an_image(tmp_path: Path) -> None:
    """What LinuxKit's images are made of: `make modules_install`, and lib in a tar."""
    package = debian_kernel("bookworm", "amd64", "linux-image-cloud-amd64")
    top = unpacked_package(package, tmp_path / "top")
    (vmlinuz,) = (top / "boot").glob("vmlinuz-*")
    files = {
        str(path.relative_to(top)): path.read_bytes()
        for path in (top / "lib").rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    whole = {"kernel": vmlinuz.read_bytes(), "kernel.tar": tar(files)}
    found = find(image(tmp_path / "image", whole), "x86_64")
    packaged = find(str(package), "x86_64")
    assert found.modules == packaged.modules and found.lacks == packaged.lacks


def test_links_are_no_kernels(tmp_path: Path) -> None:
    layer = tar_of(symlink("kernel", "/etc/shadow"))
    with pytest.raises(DockercError, match=r"/kernel of .* is no regular file"):
        find(f"oci:{write_layout(tmp_path / 'image', [layer])}", "x86_64")
