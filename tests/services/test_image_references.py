"""inspect, ls and history of images that no executable was made of."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from corpus import CORPUS
from images_support import Layout, docker_registry, on, skopeo_copy
from images_support import run as run_tool
from layout import directory, entry, file, hard_link, symlink, tar_of, write_layout
from support import FIXTURES, TESTS, dockerc, failed, need

from toolkit.commands.quantity import short_size, size_text

HELLO = f"oci:{FIXTURES}/hello"
PLATFORM = ["--platform", "linux/amd64"]
DOCUMENT = TESTS.parent / "docs" / "inspect.md"


def told(*words: str | Path) -> Any:
    return json.loads(dockerc(*words).stdout)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """The fixture wherever skopeo can put it."""
    names = {
        "oci": HELLO,
        "oci-archive": f"oci-archive:{tmp_path / 'oci.tar'}",
        "docker-archive": f"docker-archive:{tmp_path / 'docker.tar'}:hello:1",
        "dir": f"dir:{tmp_path / 'dir'}",
    }
    for name in list(names.values())[1:]:
        skopeo_copy(HELLO, name, "--override-arch", "amd64")
    return names


def test_an_image_is_told_wherever_it_is(places: dict[str, str]) -> None:
    config = json.loads(
        run_tool("skopeo", "inspect", "--config", "--override-arch", "amd64", HELLO)
    )
    for transport, name in places.items():
        found = told("inspect", "--json", name, *PLATFORM)
        image = found["image"]
        assert found["config"]["rootfs"] == config["rootfs"], transport
        assert (image["os"], image["architecture"]) == ("linux", "amd64")
        for ours, theirs in {"entrypoint": "Entrypoint", "cmd": "Cmd", "env": "Env",
                             "workdir": "WorkingDir", "labels": "Labels",
                             "stop_signal": "StopSignal"}.items():  # fmt: skip
            assert image[ours] == config["config"][theirs], transport
        assert image["ports"] == list(config["config"]["ExposedPorts"])
        assert [layer["diff_id"] for layer in found["layers"]] == config["rootfs"]["diff_ids"]
    raw = json.loads(run_tool("skopeo", "inspect", "--override-arch", "amd64", HELLO))
    found = told("inspect", "--json", HELLO, *PLATFORM)
    assert found["image"]["created"] == raw["Created"]
    sizes = [layer["Size"] for layer in raw.get("LayersData") or []]
    assert [layer["size"] for layer in found["layers"]] == (sizes or [393, 3078])
    assert found["image"]["size"] == sum(layer["size"] for layer in found["layers"])


def test_the_fields_of_an_image_are_documented() -> None:
    found = told("inspect", "--json", HELLO, *PLATFORM)
    text = DOCUMENT.read_text()
    names = {f"image.{name}" for name in found["image"]}
    names |= {f"layers[].{name}" for name in found["layers"][0]}
    listed = set(re.findall(r"^\| `([a-z_.\[\]]+)`", text, re.MULTILINE))
    assert names - listed == set()


def test_templates_tables_and_the_configuration(hello: Path) -> None:
    told_by = dockerc("inspect", "-f", "{{.Image.Architecture}}", HELLO, *PLATFORM).stdout
    assert told_by == "amd64\n"
    config = json.loads(dockerc("inspect", "--config", HELLO, *PLATFORM).stdout)
    assert config["config"]["Cmd"] == ["greet"]
    table = dockerc("inspect", HELLO, *PLATFORM).stdout
    assert re.search(r"layer +compressed  created by\n4859ffcb7284 +393 B  fixtures/make.py", table)
    assert dockerc("inspect", "-f", "{{.Image.Architecture}}", HELLO,
                   "--platform", "linux/arm64").stdout == "arm64\n"  # fmt: skip


def test_what_is_told_is_what_a_build_would_make(hello: Path) -> None:
    image, built = told("inspect", "--json", HELLO), told("inspect", "--json", hello)
    for name in ("digest", "os", "architecture", "variant", "created", "author", "labels",
                 "entrypoint", "cmd", "workdir", "volumes"):  # fmt: skip
        assert (image["image"][name] or None) == (built["image"][name] or None), name
    layers = [{k: v for k, v in layer.items() if k not in ("files", "bytes", "stored")}
              for layer in built["space"]["layers"]]  # fmt: skip
    assert image["layers"] == layers


def test_nothing_is_written_and_no_layer_read(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for blob in layout.blobs.iterdir():
        if blob.read_bytes()[:2] == b"\x1f\x8b":
            blob.write_bytes(b"no layer")
    name = f"oci:{layout.path}"
    before = sorted(tmp_path.rglob("*"))
    told("inspect", "--json", name, *PLATFORM)
    told("history", "--json", name, *PLATFORM)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", CORPUS)
def test_an_image_is_listed_as_its_executable_is(name: str, tmp_path: Path) -> None:
    layout = f"oci:{write_layout(tmp_path / 'layout', CORPUS[name])}"
    dockerc("build", "-q", layout, "--arch", "amd64", "-o", tmp_path / "app")
    for words in ([], ["-R"]):
        assert told("ls", "--json", *words, layout, *PLATFORM) == told(
            "ls", "--json", *words, tmp_path / "app"
        )


def test_paths_of_an_image(tmp_path: Path) -> None:
    layer = tar_of(
        directory("d", uid=5), file("d/f", b"x" * 3000), hard_link("h", "d/f"), symlink("s", "/d"),
        entry("d/null", b"3", devmajor=1, devminor=3), file("d/.hidden"),
    )  # fmt: skip
    layout = f"oci:{write_layout(tmp_path / 'layout', [layer])}"
    dockerc("build", "-q", layout, "--arch", "amd64", "-o", tmp_path / "app")
    listed = dockerc("ls", layout, "s", *PLATFORM).stdout
    assert listed.split() == [".hidden", "f", "null"]
    for words in (["-l", "/s"], ["-la", "/d"], ["-lh", "/s/f"], ["-lhR", "s"], ["h", "-l"]):
        ours = dockerc("ls", layout, *words, *PLATFORM).stdout
        assert ours == dockerc("ls", tmp_path / "app", *words).stdout
    assert " 3.0K " in ours or " 3000 " in ours
    assert " 3.0K 2023-11-14 22:13 f" in dockerc("ls", "-lh", tmp_path / "app", "d").stdout
    assert failed("ls", layout, "/none", *PLATFORM).endswith("has no /none")
    assert failed("ls", tmp_path / "app", "/none").endswith("has no /none")


def test_listing_fills_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    dockerc("ls", HELLO)
    done = dockerc("build", HELLO, "-o", tmp_path / "app")
    assert "2 of 2 layers cached" in done.stderr


def test_history(hello: Path, tmp_path: Path) -> None:
    config = {"Cmd": ["x"]}
    layers = [tar_of(file("a")), tar_of(file("b"))]
    layout = Layout(tmp_path / "layout")
    made = write_layout(tmp_path / "made", layers, config)
    assert [step["created_by"] for step in told("history", "--json", f"oci:{made}")] == ["", ""]
    steps = told("history", "--json", HELLO, *PLATFORM)
    theirs = json.loads(
        run_tool("skopeo", "inspect", "--config", "--override-arch", "amd64", HELLO)
    )
    assert [step["created_by"] for step in steps][::-1] == [
        step["created_by"] for step in theirs["history"]
    ]
    kept = told("history", "--json", hello)
    assert [{**step, "created": None} for step in steps] == kept
    assert dockerc("history", HELLO, *PLATFORM).stdout.splitlines()[2].split()[1:3] == ["3.1", "kB"]
    # Steps without a layer have no size, as with docker history.
    image = {
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "history": [{"created_by": "ENV \x1b[2J", "empty_layer": True, "comment": "c"}],
    }  # fmt: skip
    name = layout.write(
        on(layout.manifest(config=layout.document(
            "application/vnd.oci.image.config.v1+json", image), layers=[]), "amd64")
    )  # fmt: skip
    (step,) = told("history", "--json", name, *PLATFORM)
    assert (step["diff_id"], step["size"], step["comment"]) == (None, None, "c")
    assert "\\x1b[2J" in dockerc("history", name, *PLATFORM).stdout


def test_an_image_of_a_registry(tmp_path: Path) -> None:
    with docker_registry(tmp_path) as address:
        skopeo_copy(HELLO, f"docker://{address}/hello:1", "--dest-tls-verify=false", "--all")
        name = f"docker://{address}/hello:1"
        assert told("inspect", "--json", name)["image"]["reference"] == name
        assert told("history", "--json", name) == told("history", "--json", HELLO)
        assert dockerc("ls", name, "/bin").stdout.split() == ["greet", "hello", "hi"]


def test_history_as_podman_tells_it(shared: Path) -> None:
    need("podman")
    storage = ["--root", f"{shared}/root", "--runroot", f"{shared}/run"]
    podman = ["podman", *storage, "--storage-driver", "vfs"]
    pulled = subprocess.run([*podman, "pull", "-q", HELLO], capture_output=True, text=True)
    if pulled.returncode:
        pytest.skip(f"podman cannot keep images here: {pulled.stderr[-300:]}")
    command = [*podman, "history", "--no-trunc", "--format", "json", pulled.stdout.strip()]
    theirs = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    steps = told("history", "--json", HELLO)
    assert [step["created_by"] for step in steps] == [step["CreatedBy"] for step in theirs]


def test_what_is_neither(tmp_path: Path, hello: Path) -> None:
    for command in ("inspect", "ls", "history"):
        said = failed(command, "python:3.12")
        assert said == (
            "dockerc: python:3.12: cannot read it: No such file or directory;"
            " an image is named docker://python:3.12"
        )
        assert "--platform goes with" in failed(command, hello, *PLATFORM, status=2)
        assert "--creds goes with" in failed(command, hello, "--creds", "a:b", status=2)
        assert "does not exist" in failed(command, f"oci:{tmp_path}/none")
    (tmp_path / "file").write_text("text")
    assert "not a dockerc executable" in failed("history", tmp_path / "file")


def test_sizes() -> None:
    need("ls")
    for size, text in {0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB",
                       999_950: "1.0 MB", 82_513_920: "82.5 MB", 10**9: "1.0 GB",
                       1 << 60: "1152921.5 TB"}.items():  # fmt: skip
        assert size_text(size) == text
    assert size_text(None) == "?"


def test_sizes_as_ls_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    sizes = [0, 1, 1023, 1024, 1025, 10137, 10138, 10240, 10241, 1047552, 1047553, 1 << 20, 5 << 30]
    sizes += [math.ceil(1.37**n) for n in range(90)]
    for size in sizes:
        os.truncate(path, size)
        listed = subprocess.run(["ls", "-lh", path], check=True, capture_output=True, text=True)
        assert short_size(size) == listed.stdout.split()[4], size
