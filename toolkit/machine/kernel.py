"""The kernel that a machine boots: found by what the user names, checked, and kept in the cache.

Nothing is fetched that the user did not name.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import AbsentError, DockercError, UnsupportedError, about
from toolkit.images.auth.access import DEFAULT_ACCESS, Access
from toolkit.images.open import named_image, open_image
from toolkit.images.platforms import normalised
from toolkit.images.reference import RegistryReference, has_transport
from toolkit.images.source import Platform
from toolkit.machine.kernel_cache import KeptKernel, KernelCache
from toolkit.machine.kernel_drivers import OPTIONS, REQUIRED, Module, drivers_of
from toolkit.machine.kernel_image import ARCHITECTURES, read_kernel
from toolkit.machine.kernel_local import digest_of, local_source, state_beside, state_of
from toolkit.machine.kernel_source import KernelSource
from toolkit.services.cache import Cache
from toolkit.services.image_names import recall, remember
from toolkit.version import __version__

__all__ = ["Kernel", "Module", "find"]

_TOP = Path("/")
"""Where this machine's own kernel is looked for."""
_DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Kernel:
    """A kernel that QEMU boots, and the modules of the drivers that the machine needs."""

    image: Path
    architecture: str
    """`x86_64` or `aarch64`."""
    release: str
    modules: tuple[Module, ...]
    """In the order to load them."""
    lacks: frozenset[str] = frozenset()
    """The drivers that it has neither built in nor as modules: names of `DRIVERS` that are not
    `REQUIRED`."""

    def modules_for(self, drivers: Collection[str]) -> tuple[Module, ...]:
        """The modules of these drivers with those that they need, in the order to load them."""
        wanted = set(drivers)
        for each in self.modules:
            if each.name in drivers:
                wanted.update(each.needs)
        return tuple(each for each in self.modules if each.name in wanted)


def find(reference: str | None, architecture: str, access: Access = DEFAULT_ACCESS) -> Kernel:
    """The kernel that a user named: a file, a package of Debian, or an image with its transport.

    None is this machine's own. Raises DockercError where there is none, or it is of another
    architecture or lacks what a machine needs.
    """
    if architecture not in ARCHITECTURES:
        raise UnsupportedError(f"there is no machine for {architecture}: x86_64 or aarch64")
    if reference is None:
        reference = str(_own(architecture))
    if has_transport(reference):
        kept = _of_image(reference, architecture, access)
    else:
        kept = _of_file(Path(reference), architecture)
    if missing := kept.lacks & (REQUIRED | set(OPTIONS)):
        raise UnsupportedError(
            f"{reference}: the kernel {kept.release} lacks {', '.join(sorted(missing))}, which"
            " every machine needs; give another"
        )
    return Kernel(kept.image, architecture, kept.release, kept.modules, kept.lacks)


def _own(architecture: str) -> Path:
    """This machine's kernel, where users may read it."""
    release = platform.release()
    own = _TOP / f"boot/vmlinuz-{release}", _TOP / f"lib/modules/{release}/vmlinuz"
    if sys.platform == "linux" and platform.machine() == architecture:
        for path in own:
            with contextlib.suppress(OSError), path.open("rb"):
                return path
    name = _DEBIAN[architecture]
    raise AbsentError(
        f"a machine needs a kernel for {architecture}: get one, as by `apt-get download"
        f" linux-image-cloud-{name}` and the package that it depends on, and give it by --kernel"
        " FILE.deb; or name an image that has one by --kernel docker://IMAGE"
    )


def _of_image(reference: str, architecture: str, access: Access) -> KeptKernel:
    """A registry is asked once; its answer is remembered as those of `dockerc run` are."""
    from toolkit.machine.kernel_layers import image_source

    cache, kernels = Cache(), KernelCache(architecture)
    wanted = normalised(Platform("linux", architecture))
    tag = _tag("image")
    name = named_image(reference)
    if isinstance(name, RegistryReference):
        named = recall(cache, str(name), wanted.architecture)
        if named and (kept := kernels.made_of(_plain(named.digest), tag)):
            return kept
    with open_image(reference, wanted, access) as image:
        remember(cache, image)
        digest = _plain(image.digest)
        if kept := kernels.made_of(digest, tag):
            return kept
        with image_source(image) as source:
            return _keep(source, kernels, digest, tag, "")


def _plain(digest: str) -> str:
    """A digest as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9]", "-", digest.removeprefix("sha256:"))


def _of_file(path: Path, architecture: str) -> KeptKernel:
    kernels = KernelCache(architecture)
    state = state_of(path)
    tag = _tag(state)
    if (kept := kernels.tagged(tag)) and _is_current(kept, path):
        return kept
    digest, is_package = digest_of(path)
    if (kept := kernels.made_of(digest, tag)) and _is_current(kept, path):
        return kept
    with local_source(path, is_package=is_package) as source:
        made = _keep(source, kernels, digest, tag, "" if is_package else str(path))
    if state_of(path) != state:
        kernels.forget(digest, tag)
        raise DockercError(f"the kernel {path} was changed while it was read")
    return made


def _is_current(kept: KeptKernel, path: Path) -> bool:
    """Whether what was read beside the kernel is as it was; nothing is beside a package."""
    return kept.beside in ("", state_beside(path, kept.release))


def _tag(state: str) -> str:
    return hashlib.sha256(f"{__version__} {state}".encode("utf-8", "surrogateescape")).hexdigest()[
        :16
    ]


def _keep(
    source: KernelSource, kernels: KernelCache, digest: str, tag: str, path: str
) -> KeptKernel:
    """Read a kernel, choose its modules, write them into the cache; raises DockercError."""
    image = read_kernel(source.data, source.where)
    if image.architecture != kernels.architecture:
        raise UnsupportedError(
            f"{source.where} is a kernel for {image.architecture}, and the machine is for"
            f" {kernels.architecture}"
        )
    beside = state_beside(Path(path), image.release) if path else ""
    files = source.modules(image.release)
    config = source.config(image.release) or image.config()
    with about(source.where):
        drivers = drivers_of(files, config, image.release, image.architecture)
    kept = KeptKernel(kernels.image(digest, tag), image.release, *drivers, beside)
    kernels.keep(digest, tag, image.data, kept)
    return kept
