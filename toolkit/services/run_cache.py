"""Executables that `dockerc run` built, kept in the cache for the next time.

Writes are atomic, so concurrent runs at worst build the same bytes twice.
"""

from __future__ import annotations

from pathlib import Path

from toolkit.bundle.baked import BakedOptions
from toolkit.errors import DockercError
from toolkit.images.open import open_image
from toolkit.images.source import Platform
from toolkit.services.build import build_opened
from toolkit.services.cache import Cache, own_directory
from toolkit.services.pack_layers import Parameters
from toolkit.services.progress import Progress
from toolkit.version import __version__


def app_of(reference: str, platform: Platform, progress: Progress) -> Path:
    """The executable of the image as it is now, built if need be; raises DockercError."""
    cache = Cache()
    try:
        own_directory(cache.apps)
    except OSError as error:
        raise DockercError(
            f"cannot use the cache {cache.apps}: {error.strerror}; name another by XDG_CACHE_HOME"
        ) from None
    with open_image(reference, platform) as image:
        name = f"{image.digest.replace(':', '-')}-{image.platform.architecture}-{__version__}"
        app = cache.app(name)
        if not cache.has(app):
            # From what is open: asked again, a registry may give another image for this name.
            build_opened(
                image,
                app,
                rootfull=False,
                baked=BakedOptions(args="docker"),
                parameters=Parameters(),
                cache=cache,
                progress=progress,
            )
    return app
