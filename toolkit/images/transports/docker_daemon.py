"""`docker-daemon:NAME[:TAG|@DIGEST|@ID]` or an image's id: what a docker or podman engine holds.

The engine writes its image as `docker save` does (Docker Engine API, "Export an image"). It comes
as a stream that begins with the last layer as often as not, so it is kept in a temporary file.
"""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import quote

from toolkit.errors import AbsentError, DockercError
from toolkit.files.anonymous_file import temporary_file
from toolkit.images.platforms import MissingPlatform
from toolkit.images.reference import DaemonReference
from toolkit.images.source import Image, Platform
from toolkit.images.transports.docker_archive import only_image
from toolkit.images.transports.docker_engine import Engine, find_engine, read_message
from toolkit.images.transports.tarball import Tarball


@contextmanager
def open_daemon_image(reference: DaemonReference, platform: Platform) -> Iterator[Image]:
    """Opens the image. Raises DockercError when the engine or the image is not to be had."""
    with temporary_file() as file:
        _save(reference, platform, file)
        yield only_image(Tarball(file, f"what came of {reference}"), str(reference), platform)


def _save(reference: DaemonReference, platform: Platform, file: BinaryIO) -> None:
    # Engines that hold several platforms of an image (API 1.48 on) choose by this.
    wanted = {"os": platform.os, "architecture": platform.architecture}
    if platform.variant:
        wanted["variant"] = platform.variant
    for image in reference.candidates():
        with Engine(find_engine()) as engine:
            path = f"/images/{quote(image, safe='/:@')}/get"
            response = engine.get(path, {"platform": json.dumps(wanted)})
            if response.status != 200:
                refusal = _refusal(engine, reference, response)
                continue
            try:
                return shutil.copyfileobj(response, file, 1 << 20)
            except http.client.HTTPException:
                raise DockercError(
                    f"{reference} did not arrive whole from {engine.url}; try again"
                ) from None
            except OSError as error:
                raise DockercError(
                    f"cannot copy {reference} from {engine.url}: {error.strerror or error}"
                ) from None
    raise refusal


def _refusal(
    engine: Engine, reference: DaemonReference, response: http.client.HTTPResponse
) -> DockercError:
    message = read_message(response)
    if response.status == 404 and "platform" in message:
        return MissingPlatform(f"the container engine at {engine.url} says: {message}")
    if response.status == 404:
        return AbsentError(
            f"the container engine at {engine.url} has no image '{reference.image}'; "
            f"'docker images' lists those it has, docker://NAME fetches from a registry"
        )
    return DockercError(
        f"the container engine at {engine.url} does not give {reference.image}: {message}"
    )
