"""Random layers, merged by us and by umoci: the same tree, or a sentence from either."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout import directory, entry, file, hard_link, symlink, tar_of, write_layout
from support import describe_tree, differences, need
from tree_support import write_image

from toolkit.errors import DockercError

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TARGETS = st.one_of(PATHS, PATHS.map("/{}".format), PATHS.map("../{}".format), st.just(".."))


def in_parent(path: str, name: str) -> str:
    parent = path.rpartition("/")[0]
    return f"{parent}/{name}" if parent else name


@st.composite
def entries(draw: st.DrawFn) -> tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]:
    path = draw(PATHS)
    mode = draw(st.sampled_from([0o644, 0o755, 0o4711, 0o1777]))
    kind = draw(st.sampled_from("ffddslhwo"))
    if kind == "f":
        return file(path, draw(st.sampled_from([b"", b"x", b"y" * 70_000, bytes(5000)])), mode=mode)
    if kind == "d":
        return directory(path, mode=mode)
    if kind == "s":
        return symlink(path, draw(TARGETS))
    if kind == "l":
        return entry(path, tarfile.FIFOTYPE, mode=mode)
    if kind == "h":
        return hard_link(path, draw(PATHS))
    if kind == "w":
        return entry(in_parent(path, ".wh." + path.rpartition("/")[2]))
    return entry(in_parent(path, ".wh..wh..opq"))


LAYERS = st.lists(
    st.lists(entries(), min_size=1, max_size=8).map(lambda several: tar_of(*several)),
    min_size=1,
    max_size=3,
)


@pytest.mark.root("mounts and owners want root")
@settings(
    max_examples=int(os.environ.get("DOCKERC_TEST_MERGES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(LAYERS)
def test_random_layers_merge_as_umoci_merges_them(layers: list[bytes]) -> None:
    need("umoci")
    with tempfile.TemporaryDirectory() as place:
        layout = write_layout(Path(place, "layout"), layers)
        unpack = ["umoci", "unpack", "--image", f"{layout}:latest", f"{place}/bundle"]
        umoci = subprocess.run(unpack, capture_output=True, text=True)
        image, mount = Path(place, "image"), Path(place, "mount")
        try:
            write_image(layers, image)
        except DockercError as error:
            assert umoci.returncode != 0, error
            return
        mount.mkdir()
        subprocess.run(["mount", "-o", "loop,ro", image, mount], check=True)
        try:
            ours = describe_tree(mount / "rootfs")
        finally:
            subprocess.run(["umount", mount], check=True)
        if umoci.returncode == 0:
            theirs = describe_tree(Path(place, "bundle", "rootfs"))
            assert differences(without_times(ours), without_times(theirs)) == []


def without_times(tree: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Directories that no layer describes get the time of unpacking from umoci."""
    return {path: (*told[:5], *told[6:]) for path, told in tree.items()}


@given(st.lists(st.binary(max_size=3000), max_size=3))
def test_any_bytes_are_a_layer_or_a_sentence(layers: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as place, pytest.raises(DockercError):
        write_image([*layers, io.BytesIO(b"\1" * 600).getvalue()], Path(place, "image"))
