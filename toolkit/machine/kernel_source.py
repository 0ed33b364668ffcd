"""What a kernel is made of, wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from toolkit.machine.kernel_files import ModuleFiles


@dataclass(frozen=True)
class KernelSource:
    """The bytes of a kernel, and how to find what belongs to its release."""

    data: bytes
    config: Callable[[str], bytes | None]
    """The configuration for a release; None where there is none."""
    modules: Callable[[str], ModuleFiles | None]
    """The files of lib/modules for a release; None where there are none."""
    where: str
    """What errors call it."""
