"""What a registry knows of an executable that was pushed, without fetching it (docs/inspect.md)."""

from __future__ import annotations

from typing import Any

from toolkit.images.auth.access import Access
from toolkit.images.reference import RegistryReference
from toolkit.images.transports.registry.executable import open_remote_executable


def pushed_inspection(reference: RegistryReference, access: Access) -> dict[str, Any]:
    """The object; raises DockercError when there is none."""
    with open_remote_executable(reference, access) as remote:
        return {
            "executable": {
                "reference": str(remote.name),
                "digest": remote.digest,
                "file_digest": remote.artifact.digest,
                "size": remote.artifact.size,
                "chunks": len(remote.artifact.chunks),
            },
            "referrers": [
                {
                    "artifact_type": each.artifact_type or None,
                    "digest": each.digest,
                    "size": each.size,
                    "annotations": dict(each.annotations),
                }
                for each in remote.referrers()
            ],
        }
