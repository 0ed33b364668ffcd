"""extract in all its forms: each judged by the tool that it is for."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from corpus import CORPUS
from layout import directory, file, tar_of, write_layout
from support import TOOL, describe_tree, differences, dockerc, failed, need
from tree_support import ELSEWHERE, as_ordinary_user, as_root, kernel_mount

from toolkit.services.export.image_config import image_config

AWKWARD = ["types and modes", "extended attributes", "hard links", "names", "sizes around a block"]


@pytest.fixture(scope="session", params=AWKWARD)
def awkward(request: pytest.FixtureRequest, place: Path) -> Path:
    """An executable of an awkward image."""
    made = place / request.param.replace(" ", "-")
    layout = write_layout(place / f"{made.name}.layout", CORPUS[request.param])
    dockerc("build", f"oci:{layout}", "-o", made)
    return made


def mounted(app: Path, tmp_path: Path, name: str = "mount") -> dict[str, tuple[object, ...]]:
    dockerc("extract", app, tmp_path / f"{name}.sqfs")
    with kernel_mount(tmp_path / f"{name}.sqfs", tmp_path / name) as mount:
        return describe_tree(mount / "rootfs")


def test_to_standard_output(hello: Path, tmp_path: Path) -> None:
    dockerc("extract", hello, tmp_path / "file")
    piped = subprocess.run([*TOOL, "extract", hello, "-"], check=True, capture_output=True).stdout
    assert piped == (tmp_path / "file").read_bytes()


def below_the_top(tree: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """What is extracted is its owner's alone at the top, whatever the image says of its root."""
    return {path: row for path, row in tree.items() if path != "."}


@as_root
def test_the_rootfs_is_what_the_kernel_shows(awkward: Path, tmp_path: Path) -> None:
    told = dockerc("extract", awkward, "--rootfs", tmp_path / "out", "--privileged-files")
    assert told.stderr == ""
    assert (tmp_path / "out").stat().st_mode & 0o7777 == 0o700
    ours, theirs = describe_tree(tmp_path / "out"), mounted(awkward, tmp_path)
    assert differences(below_the_top(ours), below_the_top(theirs)) == []
    assert ours["."][5] == theirs["."][5]


@as_root
def test_holes_stay_holes(shared: Path) -> None:
    layers = [tar_of(file("a", bytes(64 << 20) + b"end"), file("b", b"x" + bytes(8 << 20)))]
    dockerc("build", f"oci:{write_layout(shared / 'layout', layers)}", "-o", shared / "app")
    dockerc("extract", shared / "app", "--rootfs", shared / "out")
    for name, size in (("a", (64 << 20) + 3), ("b", (8 << 20) + 1)):
        status = (shared / "out" / name).stat()
        assert status.st_size == size and status.st_blocks * 512 < 2 << 20


@as_root
def test_a_user_gets_the_tree_without_owners_and_is_told(awkward: Path, shared: Path) -> None:
    from toolkit.executable.executable import open_executable
    from toolkit.services.export.bundle import write_rootfs

    def work() -> None:
        with open_executable(awkward) as executable:
            left_out = write_rootfs(executable, shared / "out", privileged=True)
        (shared / "told").write_text(json.dumps(left_out))

    as_ordinary_user(work)
    theirs = mounted(awkward, shared)
    told = json.loads((shared / "told").read_text())
    ours = describe_tree(shared / "out")
    for path in [path for path in theirs if path not in ours]:
        assert int(str(theirs[path][0]), 8) & 0o170000 in (0o20000, 0o60000)  # devices
        assert "devices and sockets" in told
        del theirs[path]
    assert all((row[1], row[2]) == (ELSEWHERE, ELSEWHERE) for row in ours.values())
    assert ("owners" in told) == any(row[1] or row[2] for row in theirs.values())
    ours, theirs = below_the_top(ours), below_the_top(theirs)
    ours, theirs = ({p: (r[0], *r[3:8]) for p, r in t.items()} for t in (ours, theirs))
    assert differences(ours, theirs) == []


@as_root
@pytest.mark.parametrize("runtime", ["crun", "runc"])
@pytest.mark.parametrize("user", ["root", "user"])
def test_a_bundle_runs(hello: Path, shared: Path, runtime: str, user: str) -> None:
    from toolkit.executable.executable import open_executable
    from toolkit.services.export.bundle import write_bundle

    need(runtime)
    identity = []
    if user == "root":
        dockerc("extract", hello, "--bundle", shared / "bundle")
    else:
        need("setpriv")

        def work() -> None:
            with open_executable(hello) as executable:
                write_bundle(executable, shared / "bundle")

        as_ordinary_user(work)
        identity = ["setpriv", "--reuid", str(ELSEWHERE), "--regid", str(ELSEWHERE)]
        identity += ["--clear-groups"]
    # These runtimes want cgroup v2, or leave to keep out of them.
    manager = ["--cgroup-manager=disabled"] if runtime == "crun" else []
    (shared / "state").mkdir(mode=0o777)
    (shared / "state").chmod(0o777)
    command = [runtime, *manager, "--root", str(shared / "state"), "run", "-b"]
    command += [str(shared / "bundle"), f"dockerc-{user}"]
    script = 'mount -t cgroup2 none /sys/fs/cgroup; exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *identity, *command],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == subprocess.run([hello], capture_output=True, text=True).stdout


@as_root
def test_an_oci_layout_builds_to_the_same_tree(awkward: Path, tmp_path: Path) -> None:
    need("skopeo")
    dockerc("extract", awkward, "--oci", tmp_path / "layout")
    inspect = ["skopeo", "inspect", "--config", f"oci:{tmp_path}/layout:latest"]
    config = json.loads(subprocess.run(inspect, check=True, capture_output=True).stdout)
    assert config["architecture"] == "amd64" and config["config"]["Cmd"] == ["true"]
    dockerc("build", f"oci:{tmp_path}/layout:latest", "-o", tmp_path / "again")
    first, second = mounted(awkward, tmp_path), mounted(tmp_path / "again", tmp_path, "second")
    assert differences(first, second) == []


def test_the_image_s_settings_make_the_round_trip(tmp_path: Path) -> None:
    settings = {
        "Entrypoint": ["/bin/e"], "Cmd": ["a", "b"], "Env": ["A=ü"], "WorkingDir": "/w",
        "User": "7:8", "Labels": {"l": "v"}, "Volumes": {"/v": {}}, "StopSignal": "SIGINT",
        "ExposedPorts": {"80/tcp": {}},
    }  # fmt: skip
    layout = write_layout(tmp_path / "layout", [tar_of(directory("w"))], settings)
    dockerc("build", f"oci:{layout}", "-o", tmp_path / "app")
    dockerc("extract", tmp_path / "app", "--oci", tmp_path / "back")
    dockerc("build", f"oci:{tmp_path}/back", "-o", tmp_path / "again")
    configs = [json.loads(dockerc("inspect", "--config", tmp_path / a).stdout) for a in
               ("app", "again")]  # fmt: skip
    for config in configs:
        for changing in ("reference", "digest", "layers"):
            del config["annotations"][f"dev.dockerc.{changing}"]
    assert configs[0] == configs[1]
    assert configs[0]["annotations"]["dev.dockerc.cmd"] == '["a","b"]'


@as_root
def test_a_docker_archive_is_loaded(hello: Path, tmp_path: Path, shared: Path) -> None:
    need("podman")
    told = dockerc("extract", hello, "--docker-archive", tmp_path / "hello.tar")
    assert "hello:latest" in told.stderr
    # podman takes no longer path than this one.
    storage = ["--root", shared / "root", "--runroot", shared / "run"]
    podman = ["podman", *storage, "--storage-driver", "vfs"]
    subprocess.run([*podman, "load", "-q", "-i", tmp_path / "hello.tar"], check=True)
    listed = subprocess.run([*podman, "images", "-n"], check=True, capture_output=True, text=True)
    assert listed.stdout.split()[:2] == ["localhost/hello", "latest"]
    dockerc("build", f"docker-archive:{tmp_path}/hello.tar", "-o", tmp_path / "again")
    ran = subprocess.run([tmp_path / "again"], check=True, capture_output=True, text=True).stdout
    assert ran == subprocess.run([hello], capture_output=True, text=True).stdout


def described(archive: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, bytes]]:
    """An archive's manifest of one image, its config, and all members, which are plain files."""
    with tarfile.open(archive) as tar:
        members = {}
        for info in tar:
            assert info.isreg() and info.name == os.path.normpath(info.name)
            content = tar.extractfile(info)
            assert content is not None
            members[info.name] = content.read()
    (manifest,) = json.loads(members["manifest.json"])
    return manifest, json.loads(members[manifest["Config"]]), members


@pytest.mark.parametrize("name", ["hello", "My App_1.0!", "+++", "n" * 255])
def test_a_docker_archive_has_what_docker_asks_for(
    awkward: Path, tmp_path: Path, name: str
) -> None:
    """Of the two loaders of Docker's: its own store's, and the containerd image store's."""
    (tmp_path / name).write_bytes(awkward.read_bytes())
    dockerc("extract", tmp_path / name, "--docker-archive", tmp_path / "archive.tar")
    manifest, config, members = described(tmp_path / "archive.tar")
    assert set(manifest) == {"Config", "RepoTags", "Layers"}
    # Each layer is a file of the archive, and as many as the config has digests: of their tars,
    # which are not compressed.
    digests = [hashlib.sha256(members[layer]).hexdigest() for layer in manifest["Layers"]]
    assert config["rootfs"] == {"type": "layers", "diff_ids": [f"sha256:{d}" for d in digests]}
    assert set(members) == {"manifest.json", manifest["Config"], *manifest["Layers"]}
    with tarfile.open(fileobj=io.BytesIO(members[manifest["Layers"][0]]), mode="r:") as layer:
        assert layer.getmembers()
    # containerd takes the platform from the config; both refuse what is not linux here.
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    (reference,) = manifest["RepoTags"]
    repository, tag = reference.split(":")
    component = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
    assert re.fullmatch(component, repository) and tag == "latest"
    assert len(f"docker.io/library/{repository}") <= 255
    kinds = {"User": str, "Env": list, "Cmd": list, "Entrypoint": list, "WorkingDir": str,
             "Volumes": dict, "Labels": dict, "ExposedPorts": dict, "StopSignal": str}  # fmt: skip
    assert all(isinstance(value, kinds[key]) for key, value in config["config"].items())
    dockerc("build", f"docker-archive:{tmp_path}/archive.tar", "-o", tmp_path / "again")
    assert dockerc("ls", "-lR", tmp_path / "again").stdout == dockerc("ls", "-lR", awkward).stdout


def test_a_time_that_is_none_is_left_out_of_an_image() -> None:
    for created, kept in (("2024-01-02T03:04:05.6Z", True), ("2024-01-02", False), ("", False)):
        annotations = {"org.opencontainers.image.created": created}
        config = image_config({"annotations": annotations}, "x86_64", "sha256:0")
        assert ("created" in config) is kept


def test_what_stands_there_is_left_alone(hello: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "precious").write_text("precious")
    for way in ("--rootfs", "--bundle", "--oci"):
        assert "not empty" in failed("extract", hello, way, full)
        assert "something is there" in failed("extract", hello, way, full / "precious")
        assert "cannot write" in failed("extract", hello, way, tmp_path / "no" / "where")
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "precious"]
    empty = tmp_path / "empty"
    empty.mkdir()
    dockerc("extract", hello, "--rootfs", empty)
    assert (empty / "bin" / "hello").exists()


def state(path: Path) -> object:
    """A file's content, or what a directory holds."""
    if path.is_dir():
        return describe_tree(path).keys()
    return path.read_bytes() if path.exists() else None


def test_killed_at_any_moment(images: Path, tmp_path: Path) -> None:
    """Nothing half-written has the name asked for, and what is hidden goes with the next run."""
    app, target = tmp_path / "app", tmp_path / "work" / "out"
    dockerc("build", f"oci:{images}/debian", "-o", app)
    with app.open("r+b") as file:
        file.write(b"old!")
    target.parent.mkdir()
    moments = random.Random(1)
    for words in (["extract", app, target], ["extract", app, "--rootfs", target],
                  ["extract", app, "--oci", target], ["replace", "--arch", "amd64", target, target],
                  ["edit", target, target, "--cmd", "x"]):  # fmt: skip
        before = app.read_bytes() if words.count(target) > 1 else None

        def start(words: list[Any] = words, before: bytes | None = before) -> Any:
            subprocess.run(["rm", "-rf", target], check=True)
            if before:
                target.write_bytes(before)
            return subprocess.Popen([*TOOL, *words], stderr=subprocess.DEVNULL)

        began = time.monotonic()
        assert start().wait() == 0
        duration, after = time.monotonic() - began, state(target)
        for _ in range(4):
            process = start()
            time.sleep(moments.uniform(0, duration))
            process.kill()
            process.wait()
            assert state(target) in (before, after)
            assert len(list(target.parent.iterdir())) <= 2, "one killed run's at the most"
        assert start().wait() == 0
        assert list(target.parent.iterdir()) == [target]


def test_exactly_one_way_out(hello: Path, tmp_path: Path) -> None:
    assert "name the output" in failed("extract", hello, status=2)
    out = tmp_path / "out"
    assert "name the output" in failed("extract", hello, out, "--oci", out, status=2)
    assert not out.exists()
