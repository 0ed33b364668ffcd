"""A bill of materials attached to an executable in a registry, for who asks what refers to it."""

from __future__ import annotations

import hashlib

from toolkit.executable.executable import Executable
from toolkit.images.manifest import Descriptor
from toolkit.images.referrers import encode_referrer
from toolkit.images.transports.registry.referrers import attach
from toolkit.images.transports.registry.upload import Uploads
from toolkit.services.image_files import executable_files
from toolkit.services.sbom.bill import bill_of_executable
from toolkit.squashfs.read.lookup import reading

_CYCLONEDX = "application/vnd.cyclonedx+json"
"""As IANA has it; syft and trivy attach theirs by the same type."""
_CREATED = "org.opencontainers.image.created"


def sbom_of(executable: Executable, name: str) -> tuple[bytes, str]:
    """The document in CycloneDX, and its time; raises DockercError."""
    from toolkit.services.sbom.cyclonedx import cyclonedx_text

    with reading(name):
        bill = bill_of_executable(executable, executable_files(executable), name)
    return cyclonedx_text(bill).encode(), f"{bill.created:%Y-%m-%dT%H:%M:%SZ}"


def attach_sbom(place: Uploads, subject: Descriptor, document: tuple[bytes, str]) -> str:
    """Store the document and a manifest that refers to `subject`; returns the manifest's digest.

    The same executable gives the same. Raises DockercError.
    """
    data, created = document
    blob = Descriptor(_CYCLONEDX, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
    if not place.has_blob(blob.digest):
        place.put_blob(data, blob.digest)
    referrer = encode_referrer(subject, _CYCLONEDX, blob, {_CREATED: created})
    return attach(place, place.client, subject.digest, referrer).digest
