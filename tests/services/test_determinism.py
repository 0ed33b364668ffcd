"""The same image gives the same bytes: whenever, wherever, and however its layers arrive."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from layout import directory, entry, file, hard_link, noise, tar_of, write_layout
from support import dockerc

from toolkit.bundle.baked import BakedOptions
from toolkit.commands.progress_display import Silent
from toolkit.images.open import open_image
from toolkit.images.source import Image, Layer, Platform
from toolkit.services.build import build_opened
from toolkit.services.image_time import image_time
from toolkit.services.pack_layers import Parameters


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Four layers with files in common, small and large, and attributes that tables sort."""
    layers = [
        tar_of(
            directory(f"d{n}"),
            file(f"d{n}/own", noise(700_000, n), uid=n, gid=9 - n),
            file("common", noise(600_000, 99), pax_headers={f"SCHILY.xattr.user.{n}": "x"}),
            *(file(f"d{n}/small.{k % 3}", noise(100 * k, k)) for k in range(20)),
        )
        for n in range(3)
    ]
    last = tar_of(hard_link("linked", "d0/own"), entry("d1/.wh.own"), file("z", noise(99, 1)))
    return write_layout(tmp_path / "layout", [*layers, last])


@dataclass
class Ordered:
    """An image whose layers arrive one after the other, in this order of their numbers."""

    image: Image
    order: Sequence[int]
    turns: dict[str, threading.Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.turns = {layer.diff_id: threading.Event() for layer in self.image.layers}
        self._next = iter(self.order)
        self._give_turn()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.image, name)

    def _give_turn(self) -> None:
        number = next(self._next, None)
        if number is not None:
            self.turns[self.image.layers[number].diff_id].set()

    @contextmanager
    def open_layer(self, layer: Layer) -> Iterator[BinaryIO]:
        assert self.turns[layer.diff_id].wait(20)
        with self.image.open_layer(layer) as stream:
            yield stream
        self._give_turn()


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 3, 0, 2)])
def test_layers_may_arrive_in_any_order(
    layout: Path, tmp_path: Path, order: tuple[int, ...]
) -> None:
    for name, arrival in (("straight", range(4)), ("mixed", order)):
        with open_image(f"oci:{layout}", Platform("linux", "amd64")) as image:
            ordered: Any = Ordered(image, arrival)
            build_opened(
                ordered, tmp_path / name, rootfull=False, baked=BakedOptions(),
                parameters=Parameters(), cache=None, progress=Silent(),
            )  # fmt: skip
    assert (tmp_path / "mixed").read_bytes() == (tmp_path / "straight").read_bytes()


ELSEWHERE: dict[str, tuple[str, Mapping[str, str]]] = {
    "another day": ("time.time = lambda: 4e9", {}),
    "another place": ("os.umask(0o77)", {"TZ": "Pacific/Kiritimati", "LC_ALL": "C"}),
    "other hashes": ("", {"PYTHONHASHSEED": "12345"}),
    "one core": ("os.sched_getaffinity = lambda _: {0}", {}),
}


@pytest.mark.parametrize("where", ELSEWHERE)
def test_another_day_and_another_machine(layout: Path, tmp_path: Path, where: str) -> None:
    image = ["build", f"oci:{layout}", "--arch", "amd64", "--no-cache", "-o"]
    dockerc(*image, tmp_path / "here")
    for path in layout.rglob("*"):
        os.utime(path, (1e9, 1e9))
    change, environment = ELSEWHERE[where]
    code = f"import os, time\n{change}\nfrom toolkit.cli import main; main()"
    (tmp_path / "cwd").mkdir()
    subprocess.run(
        [sys.executable, "-c", code, *image, tmp_path / "there"],
        check=True, capture_output=True, cwd=tmp_path / "cwd",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )  # fmt: skip
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()


def test_the_filesystem_s_time_is_the_image_s_in_any_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    time.tzset()
    try:
        for created, seconds in {
            "2024-02-03T04:05:06Z": 1706933106,
            "2024-02-03T04:05:06.123456789Z": 1706933106,
            "1901-01-01T00:00:00Z": 0,
            "2200-01-01T00:00:00Z": 0xFFFFFFFF,
            "yesterday": 0,
            None: 0,
        }.items():
            assert image_time(created) == seconds, created
    finally:
        monkeypatch.undo()
        time.tzset()
