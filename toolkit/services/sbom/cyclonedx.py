"""A bill of materials as CycloneDX 1.6, in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.packages.package import Package
from toolkit.services.sbom.bill import Bill
from toolkit.services.sbom.libraries import library
from toolkit.services.sbom.licenses import Kind, classify
from toolkit.version import __version__

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

_NAMESPACE = "dockerc"
"""Of properties: cyclonedx-property-taxonomy asks for one that is the tool's own."""


def cyclonedx_text(bill: Bill) -> str:
    """The document; raises DockercError where the library is missing."""
    with library("cyclonedx-python-lib"):
        from cyclonedx.output.json import JsonV1Dot6
    return JsonV1Dot6(_bom(bill)).output_as_string(indent=2)


def _bom(bill: Bill) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.dependency import Dependency

    image = Component(
        name=bill.reference, version=bill.digest or None, type=ComponentType.CONTAINER,
        bom_ref="image",
    )  # fmt: skip
    tool = Component(name="dockerc", version=__version__, type=ComponentType.APPLICATION)
    components = [_component(bill, package) for package in bill.inventory.packages]
    distribution = bill.inventory.distribution
    if distribution.id:
        components.append(
            Component(
                name=distribution.id,
                version=distribution.version or None,
                type=ComponentType.OPERATING_SYSTEM,
                bom_ref="distribution",
                description=distribution.name or None,
            )
        )
    metadata = BomMetaData(timestamp=bill.created, component=image)
    metadata.tools.components.add(tool)
    needed = [Dependency(each.bom_ref) for each in components]
    bom = Bom(
        serial_number=bill.identifier(), metadata=metadata, components=components,
        dependencies=[Dependency(image.bom_ref, needed), *needed],
    )  # fmt: skip
    # Before it writes, the library would look for each component among all dependencies.
    vars(bom)["register_dependency"] = lambda target: None
    return bom


def _component(bill: Bill, package: Package) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    told = [(f"{_NAMESPACE}:path", path) for path in package.paths]
    if layer := bill.layer_of(package):
        told.append((f"{_NAMESPACE}:layer", layer))
    return Component(
        name=package.name,
        version=package.version or None,
        type=ComponentType("library"),
        bom_ref=package.purl,
        purl=PackageURL.from_string(package.purl),
        licenses=_licenses(package),
        properties=[Property(name=name, value=value) for name, value in told],
    )


def _licenses(package: Package) -> list[License]:
    """An expression can only stand alone; beside others it is a name."""
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression

    classified = [classify(text) for text in package.licenses]
    if len(classified) == 1 and classified[0].kind is Kind.EXPRESSION:
        return [LicenseExpression(value=classified[0].text)]
    return [
        DisjunctiveLicense(id=each.text)
        if each.kind is Kind.ID
        else DisjunctiveLicense(name=each.text)
        for each in dict.fromkeys(classified)
    ]
