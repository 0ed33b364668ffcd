"""Executables that `dockerc run` built, kept for the next time: `$XDG_CACHE_HOME/dockerc/apps`.

A name says what was built: the image's digest and platform, and the tool's version. Writes are
atomic, so concurrent runs at worst build the same bytes twice. Those not used for a month go.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from toolkit.build import build_opened
from toolkit.bundle.baked import BakedOptions
from toolkit.cache import PackCache, is_ours, own_directory
from toolkit.errors import DockercError
from toolkit.images.open import open_image
from toolkit.images.source import Platform
from toolkit.packing import Parameters
from toolkit.progress import Progress
from toolkit.version import __version__

_MAX_AGE = 30 * 24 * 3600
"""Seconds without use."""


def app_of(reference: str, platform: Platform, progress: Progress) -> Path:
    """The executable of the image as it is now, built if need be; raises DockercError."""
    packs = PackCache()
    directory = packs.directory.parent / "apps"
    try:
        own_directory(directory)
        _prune(directory)
    except OSError as error:
        raise DockercError(
            f"cannot use the cache {directory}: {error.strerror}; name another by XDG_CACHE_HOME"
        ) from None
    with open_image(reference, platform) as image:
        name = f"{image.digest.replace(':', '-')}-{image.platform.architecture}-{__version__}"
        app = directory / name
        if not _is_there(app):
            # From what is open: asked again, a registry may give another image for this name.
            build_opened(
                image,
                app,
                rootfull=False,
                baked=BakedOptions(),
                parameters=Parameters(),
                cache=packs,
                progress=progress,
            )
    return app


def _is_there(app: Path) -> bool:
    """Whether it was built before, by us; it counts as used now."""
    try:
        os.utime(app)
        return is_ours(app)
    except OSError:
        return False


def _prune(directory: Path) -> None:
    for app in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another run was quicker
            if app.stat().st_mtime < time.time() - _MAX_AGE:
                app.unlink()
