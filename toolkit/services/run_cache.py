"""Executables that `dockerc run` built, kept in the cache for the next time.

Writes are atomic, so concurrent runs at worst build the same bytes twice.
"""

from __future__ import annotations

from pathlib import Path

from toolkit.bundle.baked import BakedOptions
from toolkit.errors import AbsentError, DockercError
from toolkit.images.auth.access import DEFAULT_ACCESS, Access
from toolkit.images.auth.registries_conf import load_registries_conf
from toolkit.images.open import named_image, open_image
from toolkit.images.reference import RegistryReference
from toolkit.images.source import Platform
from toolkit.services.cache import Cache, own_directory
from toolkit.services.image_names import recall, remember
from toolkit.services.progress import Progress
from toolkit.services.pull import Pull


def app_of(
    text: str,
    platform: Platform,
    progress: Progress,
    access: Access = DEFAULT_ACCESS,
    pull: Pull = Pull.MISSING,
) -> Path:
    """The executable of an image, built if need be; raises DockercError.

    Of a registry's image the cached one will do, but for `Pull.ALWAYS`; a digest never leads to
    another image. Whatever is on this machine is looked at each time.
    """
    cache = Cache()
    try:
        own_directory(cache.apps)
    except OSError as error:
        raise DockercError(
            f"cannot use the cache {cache.apps}: {error.strerror}; name another by XDG_CACHE_HOME"
        ) from None
    reference = named_image(text)
    if isinstance(reference, RegistryReference):
        may_be_old = pull is not Pull.ALWAYS or reference.digest
        if may_be_old and (app := _cached(cache, reference, platform)):
            return app
        if pull is Pull.NEVER:
            raise AbsentError(
                f"{reference} is not in the cache, and --pull never forbids to ask its registry;"
                " `dockerc images` lists what is"
            )
    with open_image(text, platform, access) as image:
        app = cache.app(remember(cache, image).app)
        if not cache.has(app):
            # Most of the time it is there, and these take longer to import than all else.
            from toolkit.services.build import build_opened
            from toolkit.services.pack_layers import Parameters

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


def _cached(cache: Cache, reference: RegistryReference, platform: Platform) -> Path | None:
    """The executable that was last built for the name, whichever registry a short one is of."""
    for name in load_registries_conf().long_names(reference):
        named = recall(cache, str(name), platform.architecture)
        if named and cache.has(app := cache.app(named.app)):
            return app
    return None
