"""Beside what syft listed for the same images, as fixtures/sbom/make.py has recorded it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support import FIXTURES, Runner, dockerc

SBOM = FIXTURES / "sbom"
RECORD: dict[str, Any] = json.loads((SBOM / "syft.json").read_text())

THEIRS = {
    # Packages that dpkg has removed, or has not installed to the end.
    "pkg:deb/debian/gone@1.0-1?arch=amd64&distro=debian-12",
    "pkg:deb/debian/half@2.0-1?arch=amd64&distro=debian-12",
    # A program without modules: where its module would end is a guess.
    "pkg:golang/github.com/containers/skopeo@(devel)#cmd/skopeo",
    # Groups that the names of a bundle and of a module do not mean.
    "pkg:maven/org.apache.commons.io/commons-io@2.11.0",
    "pkg:maven/io.opentelemetry.sdk.trace/opentelemetry-sdk-trace@1.44.1",
}
OURS = {
    "pkg:golang/github.com/containers/skopeo/cmd/skopeo",
    "pkg:maven/org.apache.commons/commons-io@2.11.0",
    "pkg:maven/io.opentelemetry/opentelemetry-sdk-trace@1.44.1",
}
"""What docs/sbom.md says is listed otherwise."""


def bill(image: Path) -> list[str]:
    done = dockerc("sbom", "--format", "json", f"oci:{image}")
    assert done.stderr == ""
    return [each["purl"] for each in json.loads(done.stdout)["packages"]]


def types(urls: list[str]) -> Counter[str]:
    return Counter(url.partition("/")[0].removeprefix("pkg:") for url in urls)


@pytest.mark.parametrize("name", RECORD["images"])
def test_small_images_have_the_packages_that_syft_lists(name: str) -> None:
    recorded = RECORD["images"][name]
    shown = json.loads(dockerc("inspect", "--json", f"oci:{SBOM / name}").stdout)
    assert shown["config"]["rootfs"]["diff_ids"] == [recorded["layer"]]
    found, theirs = bill(SBOM / name), recorded["packages"]
    expected = sorted({*theirs} - THEIRS | (OURS if name == "debian" else set()))
    assert sorted(found) == expected
    removed = {"deb": 2} if name == "debian" else {}
    assert types(found) == types(theirs) - Counter(removed)


def test_each_type_is_among_them() -> None:
    urls = [url for image in RECORD["images"].values() for url in image["packages"]]
    assert {*types(urls)} == {"deb", "apk", "rpm", "pypi", "npm", "golang", "cargo", "maven"}
    assert {*urls} > THEIRS and not {*urls} & OURS


@pytest.mark.parametrize(("name", "built"), [("debian", "deb"), ("python", "python")])
def test_real_images_have_as_many_as_syft_counted(
    name: str, built: str, images: Path, request: pytest.FixtureRequest, run_as_user: Runner
) -> None:
    """Debian's updates may bring a package more, to dpkg's count and to this."""
    expected = dict(RECORD["real"][name])
    told = run_as_user(request.getfixturevalue(built), "dpkg-query", "-W")
    more = len(told.stdout.splitlines()) - expected.pop("dpkg-query")
    assert types(bill(images / name)) == {**expected, "deb": expected["deb"] + more}
