"""What is attached to a manifest: OCI image-spec v1.1, "subject", and distribution-spec v1.1,
"Listing Referrers", with the tag that stands in for it where a registry does not know them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from toolkit.errors import DamagedError, RefusedError
from toolkit.files.json_document import parse_document
from toolkit.images.artifact import EMPTY_CONFIG
from toolkit.images.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor, descriptor

MAX_REFERRERS = 1000
"""Of one manifest."""


def encode_referrer(
    subject: Descriptor, kind: str, blob: Descriptor, annotations: Mapping[str, str]
) -> bytes:
    """A manifest of one blob of this type that is attached to `subject`."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": EMPTY_CONFIG,
        "layers": [_as_json(blob)],
        "subject": _as_json(subject),
        "annotations": dict(annotations),
    }
    return json.dumps(manifest, separators=(",", ":")).encode()


def parse_referrers(data: bytes, where: str) -> list[Descriptor]:
    """The manifests that an index lists; raises DockercError when it is none, or has too many."""
    document = parse_document(data, where)
    if document.text("mediaType") not in ("", OCI_INDEX):
        raise DamagedError(f"{where} is malformed: it is no index")
    entries = document.objects("manifests")
    if len(entries) > MAX_REFERRERS:
        raise RefusedError(f"{where} has {len(entries)} entries; at most {MAX_REFERRERS} are read")
    return [descriptor(entry) for entry in entries]


def encode_index(referrers: list[Descriptor]) -> bytes:
    """The index that is kept under `fallback_tag`."""
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [_as_json(each) for each in referrers],
    }
    return json.dumps(index, separators=(",", ":")).encode()


def fallback_tag(digest: str) -> str:
    """The tag of the index for a manifest of this digest."""
    return digest.replace(":", "-", 1)


def _as_json(each: Descriptor) -> dict[str, Any]:
    members: dict[str, Any] = {
        "mediaType": each.media_type,
        "digest": each.digest,
        "size": each.size,
    }
    if each.artifact_type:
        members["artifactType"] = each.artifact_type
    if each.annotations:
        members["annotations"] = dict(each.annotations)
    return members
