"""Debian's kernels: what is found of their packages, judged by modprobe, file and the package."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from kernel_support import DRIVERS, debian_kernel, unpacked_package
from support import need

from toolkit.machine.kernel import Kernel, find

pytestmark = pytest.mark.slow
KERNELS = [
    ("bookworm", "amd64", "linux-image-cloud-amd64"),  # modules that are not compressed
    ("trixie", "amd64", "linux-image-amd64"),
    ("bookworm", "arm64", "linux-image-cloud-arm64"),
    ("trixie", "arm64", "linux-image-cloud-arm64"),
]
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


def shown(top: Path, release: str, driver: str) -> list[str]:
    """The modules that modprobe would load for a driver, in its order."""
    command = ["modprobe", "-d", top, "-S", release, "--show-depends", driver]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found = re.findall(r"^insmod \S+/([\w-]+)\.ko", done.stdout, re.MULTILINE)
    # Of those that compute crc32c for ext4, the one for every processor will do.
    return [name.replace("-", "_") for name in found if name != "crc32c-intel"]


@pytest.mark.parametrize(("suite", "debian", "name"), KERNELS)
def test_a_package_as_modprobe_sees_it(tmp_path: Path, suite: str, debian: str, name: str) -> None:
    need("modprobe", "file", "apt-get")
    package = debian_kernel(suite, debian, name)
    kernel = find(str(package), ARCHITECTURES[debian])
    top = unpacked_package(package, tmp_path / "top")
    (own,) = (top / "boot").glob("vmlinuz-*")
    assert kernel.release == own.name.removeprefix("vmlinuz-")
    said = subprocess.run(["file", "-b", kernel.image], check=True, capture_output=True, text=True)
    if debian == "arm64":
        assert kernel.image.read_bytes() == own.read_bytes() and "ARM64" in said.stdout
    else:
        assert said.stdout.startswith("ELF 64-bit LSB executable, x86-64")
        assert f"Linux version {kernel.release} (".encode() in kernel.image.read_bytes()

    order = [each.name for each in kernel.modules]
    wanted = {driver: shown(top, kernel.release, driver) for driver in DRIVERS}
    assert set(order) == {module for found in wanted.values() for module in found}
    for driver, found in wanted.items():
        assert sorted(found) == sorted(each.name for each in kernel.modules_for({driver})), driver
    depends = _dependencies(top, kernel.release)
    for position, module in enumerate(order):
        assert depends[module] <= set(order[:position]), module
    _check_contents(kernel, top)
    lacking = {"9p", "9pnet_virtio"} if "cloud" in name else set()
    assert kernel.lacks == lacking


def _dependencies(top: Path, release: str) -> dict[str, set[str]]:
    """What depmod found that each module depends on, directly or not."""
    lines = (top / "lib/modules" / release / "modules.dep").read_text().splitlines()
    names = [re.findall(r"([\w-]+)\.ko", line) for line in lines]
    plain = [[name.replace("-", "_") for name in found] for found in names]
    return {first: set(rest) for first, *rest in plain}


def _check_contents(kernel: Kernel, top: Path) -> None:
    directory = top / "lib/modules" / kernel.release
    for module in kernel.modules:
        path = top / "module.ko"
        path.write_bytes(module.content)
        magic = subprocess.run(
            ["modinfo", "-F", "vermagic", path], check=True, capture_output=True, text=True
        ).stdout
        assert magic.split()[0] == kernel.release
        (stored,) = directory.rglob(f"{module.name.replace('_', '[_-]')}.ko*")
        if stored.suffix == ".xz":
            plain = subprocess.run(["xz", "-dc", stored], check=True, capture_output=True).stdout
            assert plain == module.content
        else:
            assert stored.read_bytes() == module.content


def test_the_kernel_of_an_installed_package(tmp_path: Path) -> None:
    """Where it has its modules next to it, as boot/ and lib/ have them, both are the same."""
    package = debian_kernel("bookworm", "amd64", "linux-image-cloud-amd64")
    top = unpacked_package(package, tmp_path)
    (own,) = (top / "boot").glob("vmlinuz-*")
    (top / "vmlinuz").symlink_to(own)
    packaged, installed = find(str(package), "x86_64"), find(str(top / "vmlinuz"), "x86_64")
    assert packaged.modules == installed.modules and packaged.lacks == installed.lacks
