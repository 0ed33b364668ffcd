"""A bill of materials as SPDX 2.3, in JSON."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from toolkit.packages.package import Package
from toolkit.services.sbom.bill import Bill
from toolkit.services.sbom.libraries import library
from toolkit.services.sbom.licenses import Kind, classify
from toolkit.version import __version__

if TYPE_CHECKING:
    from spdx_tools.spdx.model import Document

_DOCUMENT, _IMAGE = "SPDXRef-DOCUMENT", "SPDXRef-image"


def spdx_text(bill: Bill) -> str:
    """The document; raises DockercError where a library is missing."""
    with library("spdx-tools"):
        from spdx_tools.spdx.writer.json.json_writer import write_document_to_stream
    with library("cyclonedx-python-lib"):  # which has SPDX's list of licences
        import cyclonedx.spdx  # noqa: F401
    text = io.StringIO()
    # Checking a thousand packages takes the library longer than all the rest; our tests do it.
    write_document_to_stream(_document(bill), text, validate=False)
    return text.getvalue()


def _document(bill: Bill) -> Document:
    import spdx_tools.spdx.model as spdx

    creation = spdx.CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id=_DOCUMENT,
        name=bill.reference,
        document_namespace=f"urn:uuid:{bill.identifier()}",
        creators=[spdx.Actor(spdx.ActorType.TOOL, f"dockerc-{__version__}")],
        created=bill.created.replace(tzinfo=None),
    )
    image = spdx.Package(
        _IMAGE, bill.reference, spdx.SpdxNoAssertion(), version=bill.digest or None,
        files_analyzed=False, primary_package_purpose=spdx.PackagePurpose.CONTAINER,
    )  # fmt: skip
    references = _LicenseReferences()
    packages = [image]
    relationships = [spdx.Relationship(_DOCUMENT, spdx.RelationshipType.DESCRIBES, _IMAGE)]
    for number, package in enumerate(bill.inventory.packages, 1):
        identifier = f"SPDXRef-package-{number}"
        packages.append(_package(bill, package, identifier, references))
        relationships.append(spdx.Relationship(_IMAGE, spdx.RelationshipType.CONTAINS, identifier))
    return spdx.Document(
        creation,
        packages=packages,
        relationships=relationships,
        extracted_licensing_info=references.extracted(),
    )


def _package(bill: Bill, package: Package, identifier: str, references: _LicenseReferences) -> Any:
    import spdx_tools.spdx.model as spdx

    layer, declared = bill.layer_of(package), references.expression(package)
    told = ["found in " + ", ".join(package.paths), *([f"layer {layer}"] if layer else [])]
    purl = spdx.ExternalPackageRef(
        spdx.ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", package.purl
    )
    return spdx.Package(
        identifier,
        package.name,
        spdx.SpdxNoAssertion(),
        version=package.version or None,
        files_analyzed=False,
        license_declared=spdx.SpdxNoAssertion() if declared is None else declared,
        source_info="; ".join(told),
        external_references=[purl],
    )


class _LicenseReferences:
    """Licences that SPDX does not list are references, whose names stand at the document's end."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._licensing: Any = None

    def expression(self, package: Package) -> Any:
        """All of them together; None for none."""
        from license_expression import get_spdx_licensing

        words = []
        for text in package.licenses:
            license = classify(text)
            if license.kind is Kind.ID:
                words.append(license.text)
            elif license.kind is Kind.EXPRESSION:
                words.append(f"({license.text})")
            else:
                words.append(self._reference(license.text))
        if not words:
            return None
        self._licensing = self._licensing or get_spdx_licensing()
        return self._licensing.parse(" AND ".join(dict.fromkeys(words)))

    def _reference(self, name: str) -> str:
        plain = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[:60] or "unnamed"
        reference, number = f"LicenseRef-{plain}", 1
        while self._names.setdefault(reference, name) != name:
            number += 1
            reference = f"LicenseRef-{plain}-{number}"
        return reference

    def extracted(self) -> list[Any]:
        """What the document says of each."""
        import spdx_tools.spdx.model as spdx

        return [
            spdx.ExtractedLicensingInfo(reference, f"The package calls its licence: {name}", name)
            for reference, name in sorted(self._names.items())
        ]
