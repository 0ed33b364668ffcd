"""Which of an image's variants is taken, and what is said where none suits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from images_support import ARM64, MANIFEST, Json, Layout, on, read_image, tar_of

from toolkit.errors import DockercError
from toolkit.images.open import open_image
from toolkit.images.platforms import distance, host_platform
from toolkit.images.source import Platform


def content(platform: Json) -> list[bytes]:
    """The layers of `Layout.manifest(platform)`."""
    return [tar_of({"platform": json.dumps(platform).encode()})]


def test_platform_is_chosen_and_attestations_are_skipped(layout: Layout) -> None:
    arm = {"architecture": "arm64", "os": "linux"}
    attestation = {
        **layout.manifest(),
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    name = layout.write(
        layout.index(
            attestation,
            {**layout.document(MANIFEST, {}), "artifactType": "application/vnd.example.sbom"},
            on(layout.manifest(), "unknown", os="unknown"),
            on(layout.manifest(), "amd64", os="windows"),
            on(layout.manifest(), "amd64"),
            on(layout.manifest(arm), "arm64", "v8"),
        )
    )
    assert read_image(name, ARM64)[1] == content(arm)
    with pytest.raises(
        DockercError, match="no image for linux/s390x; it has linux/amd64, linux/arm64, windows"
    ):
        read_image(name, Platform("linux", "s390x"))


def test_best_variant_is_chosen(layout: Layout) -> None:
    def arm(variant: str) -> Json:
        platform = {"architecture": "arm", "os": "linux", "variant": variant}
        return on(layout.manifest(platform), "arm", variant)

    name = layout.write(layout.index(arm("v5"), arm("v7"), arm("v6")))
    for wanted, chosen in {"v8": "v7", "v7": "v7", "v6": "v6", "v5": "v5", None: "v7"}.items():
        with open_image(name, Platform("linux", "arm", wanted)) as image:
            assert image.platform.variant == chosen
    with pytest.raises(DockercError, match="no image for linux/arm/v4"):
        read_image(name, Platform("linux", "arm", "v4"))


@pytest.mark.parametrize(
    ("wanted", "offered", "suits"),
    [
        (("arm64", None), ("arm64", "v8"), True),
        (("aarch64", "8"), ("arm64", None), True),
        (("arm64", "v8"), ("arm64", "v9"), False),
        (("arm64", "v9"), ("arm64", None), True),
        (("x86_64", None), ("amd64", None), True),
        (("amd64", None), ("amd64", "v3"), False),
        (("amd64", "v3"), ("amd64", "v2"), True),
        (("arm", "v6"), ("arm", None), True),
        (("arm64", None), ("arm", "v7"), False),
        (("riscv64", None), ("riscv64", None), True),
        (("ppc64le", None), ("ppc64le", "odd"), True),
        (("amd64", None), ("amd64", "odd"), False),
    ],
)
def test_which_platform_suits(wanted: Any, offered: Any, suits: bool) -> None:
    assert (distance(Platform("linux", *wanted), Platform("linux", *offered)) is not None) == suits
    assert distance(Platform("linux", *wanted), Platform("windows", *offered)) is None


def test_host_platform_is_in_gos_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for machine, expected in {
        "x86_64": "linux/amd64",
        "AMD64": "linux/amd64",
        "aarch64": "linux/arm64",
        "arm64": "linux/arm64",
        "armv7l": "linux/arm/v7",
        "riscv64": "linux/riscv64",
    }.items():
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert str(host_platform()) == expected


def test_single_manifest_of_another_architecture_says_what_it_is(layout: Layout) -> None:
    name = layout.write(layout.manifest({"architecture": "arm64", "os": "linux", "variant": "v8"}))
    with pytest.raises(DockercError, match="is an image for linux/arm64, not for linux/amd64"):
        read_image(name)


def test_index_that_states_no_platforms_is_resolved_by_configs(layout: Layout) -> None:
    arm = {"architecture": "arm64", "os": "linux"}
    name = layout.write(layout.index(layout.manifest(), layout.manifest(arm)))
    assert read_image(name, ARM64)[1] == content(arm)
    with pytest.raises(DockercError, match="it has linux/amd64, linux/arm64"):
        read_image(name, Platform("linux", "386"))


def test_only_attestations(layout: Layout) -> None:
    with pytest.raises(DockercError, match="holds no image"):
        read_image(layout.write(layout.index(on(layout.manifest(), "unknown", os="unknown"))))


def test_nesting_is_bounded(layout: Layout) -> None:
    entry = on(layout.manifest(), "amd64")
    for _ in range(3):
        entry = layout.index(entry)
    assert read_image(layout.write(entry))
    with pytest.raises(DockercError, match="nests indexes deeper"):
        read_image(layout.write(layout.index(layout.index(entry))))
    image = on(layout.manifest(), "amd64")
    many = [layout.index({**image, "annotations": {"n": str(n)}}) for n in range(70)]
    with pytest.raises(DockercError, match="more than 64 manifests"):
        read_image(layout.write(layout.index(*many)))
