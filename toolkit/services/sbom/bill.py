"""What a bill of materials says, whatever its format."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from toolkit.errors import DamagedError
from toolkit.executable.executable import Executable
from toolkit.executable.payload import config_of
from toolkit.images.source import Image
from toolkit.packages.inventory import Inventory, take_inventory
from toolkit.packages.package import Package
from toolkit.services.image_files import ImageFiles, LayerFacts
from toolkit.services.image_time import image_time, source_date_epoch

NAME_OF = "dev.dockerc.reference"
DIGEST_OF = "dev.dockerc.digest"


@dataclass(frozen=True)
class Bill:
    """An image, and its packages."""

    reference: str
    digest: str
    """The manifest's; empty for an executable that does not know it."""
    created: datetime
    inventory: Inventory
    layers: tuple[LayerFacts, ...]

    def layer_of(self, package: Package) -> str | None:
        """The digest of the layer that brought it, where that is known."""
        if package.layer is None or package.layer >= len(self.layers):
            return None
        return self.layers[package.layer].diff_id or None

    def identifier(self) -> uuid.UUID:
        """The same for the same image and packages, and for no others."""
        told = [self.reference, self.digest, str(self.created)]
        told += [package.purl for package in self.inventory.packages]
        return uuid.UUID(bytes=hashlib.sha256("\n".join(told).encode()).digest()[:16], version=4)

    def as_json(self) -> dict[str, Any]:
        """For programs (docs/sbom.md)."""
        distribution = self.inventory.distribution
        return {
            "image": {
                "reference": self.reference,
                "digest": self.digest or None,
                "distribution": distribution.name or distribution.id or None,
            },
            "packages": [
                {
                    "type": package.kind,
                    "name": package.name,
                    "version": package.version,
                    "purl": package.purl,
                    "licenses": list(package.licenses),
                    "layer": self.layer_of(package),
                    "paths": list(package.paths),
                }
                for package in self.inventory.packages
            ],
            "notes": self.inventory.notes,
        }


def bill_of_image(image: Image, files: ImageFiles) -> Bill:
    """The bill of an image whose files those are; raises DockercError."""
    created = image_time(image.config.get("created"))
    return _bill(image.reference, image.digest, created, files)


def bill_of_executable(executable: Executable, files: ImageFiles, name: str) -> Bill:
    """The same of an executable; `name` is its own, for where it does not know its image's."""
    annotations = config_of(executable).get("annotations")
    text = _texts(annotations if isinstance(annotations, dict) else {})
    epoch = source_date_epoch()
    created = executable.superblock.mkfs_time if epoch is None else epoch
    return _bill(text(NAME_OF) or name, text(DIGEST_OF), created, files)


def _texts(members: dict[str, Any]) -> Callable[[str], str]:
    def text(key: str) -> str:
        value = members.get(key, "")
        if not isinstance(value, str) or len(value) > 4096:
            raise DamagedError(f"its config.json is malformed: '{key}' is no name")
        return value

    return text


def _bill(reference: str, digest: str, created: int, files: ImageFiles) -> Bill:
    inventory = take_inventory(files.walk(), files)
    time = datetime.fromtimestamp(created, timezone.utc)
    return Bill(reference, digest, time, inventory, tuple(files.layers))
