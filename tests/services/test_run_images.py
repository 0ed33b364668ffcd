"""`dockerc run`, `images` and the cache: what is known by name, and when a registry is asked."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from images_support import FIXTURE, LyingRegistry, lying_registry, skopeo_copy
from layout import file, on_top, tar_of
from registry_support import USER, Authority, Closed, conf, password_closed
from support import dockerc, failed

HELLO = f"oci:{FIXTURE}"
GREETING = "Hello from dockerc"


@pytest.fixture(autouse=True)
def cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, and no configuration."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    return home / "cache" / "dockerc"


@pytest.fixture
def registry() -> Iterator[LyingRegistry]:
    """The fixture as app:latest, and what it is asked."""
    with lying_registry(FIXTURE) as served:
        yield served


def run(name: str, *options: str) -> str:
    return str(dockerc("run", "-q", *options, name).stdout)


def listed(*words: str) -> Any:
    return json.loads(dockerc(*words, "--json").stdout)


def index_digest() -> str:
    entry = json.loads((FIXTURE / "index.json").read_text())["manifests"][0]
    return str(entry["digest"])


def test_the_cache_is_asked_first(registry: LyingRegistry) -> None:
    name = f"{registry.address}/app"
    assert run(name).startswith(GREETING)
    asked = len(registry.requests)
    assert asked > 3
    for options in ([], ["--pull", "missing"], ["--pull=never"]):
        assert run(name, *options).startswith(GREETING)
        assert run(f"docker://{name}:latest", *options).startswith(GREETING)
    assert len(registry.requests) == asked
    assert run(name, "--pull", "always").startswith(GREETING)
    again = [path for path, _ in registry.requests[asked:]]
    assert again and not [path for path in again if "blobs" in path and "config" in path]


def test_never_asks_nobody(registry: LyingRegistry) -> None:
    name = f"{registry.address}/app"
    said = failed("run", "--pull", "never", name)
    assert f"docker://{name}:latest is not in the cache" in said and "--pull never" in said
    assert registry.requests == []
    # What is on this machine is not pulled.
    assert run(HELLO, "--pull", "never").startswith(GREETING)


def test_a_digest_is_asked_for_once(registry: LyingRegistry) -> None:
    pinned = f"{registry.address}/app@{index_digest()}"
    assert run(pinned).startswith(GREETING)
    asked = len(registry.requests)
    for options in ([], ["--pull", "always"], ["--pull", "never"]):
        assert run(pinned, *options).startswith(GREETING)
    assert len(registry.requests) == asked


def test_always_finds_what_the_name_leads_to_now(tmp_path: Path) -> None:
    first, second, served = (tmp_path / name for name in ("first", "second", "served"))
    skopeo_copy(HELLO, f"oci:{first}")
    on_top(first, second, tar_of(file("x")), {"Cmd": ["args", "changed"]})
    served.symlink_to(first)
    with lying_registry(served) as registry:
        name = f"{registry.address}/app"
        assert run(name).startswith(GREETING)
        served.unlink()
        served.symlink_to(second)
        assert run(name).startswith(GREETING)
        assert run(name, "--pull", "always") == "changed\n"
        assert run(name) == "changed\n"
    (row,) = listed("images")
    assert row["reference"] == f"docker://{name}:latest" and row["layers"] == 3


def test_a_short_name_is_found_without_a_registry(registry: LyingRegistry, home: Path) -> None:
    conf(home, f'unqualified-search-registries = ["none.invalid", "{registry.address}"]')
    run(f"{registry.address}/app")
    asked = len(registry.requests)
    assert run("app").startswith(GREETING)
    assert run("app", "--pull", "never").startswith(GREETING)
    assert len(registry.requests) == asked


def test_local_images_are_looked_at_each_time(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    shutil.copytree(FIXTURE, layout)
    assert run(f"oci:{layout}").startswith(GREETING)
    shutil.rmtree(layout)
    assert "does not exist" in failed("run", f"oci:{layout}")


def test_registry_options(tmp_path: Path, authority: Authority) -> None:
    with password_closed(tmp_path, authority) as closed:
        _check_registry_options(closed, tmp_path)


def _check_registry_options(closed: Closed, tmp_path: Path) -> None:
    name = f"{closed.address}/team/app:1"
    certificates = ["--cert-dir", str(closed.trusted)]
    assert "is not trusted" in failed("run", name)
    assert "denies access" in failed("run", *certificates, name)
    assert "refuses the login" in failed("run", *certificates, "--creds", f"{USER}:wrong", name)
    assert "USER:PASSWORD" in failed("run", "--creds", "nocolon", name, status=2)
    password = "se:cret é"
    creds = ["--creds", f"{USER}:{password}"]
    assert run(name, "-e", "A=1", *certificates, *creds).startswith(GREETING)
    dockerc("cache", "prune")
    assert run(name, "--tls-verify=false", *creds).startswith(GREETING)
    dockerc("cache", "prune")
    mine = tmp_path / "auth.json"
    login = ["login", *certificates, "--authfile", mine, "-u", USER, "--password-stdin"]
    dockerc(*login, closed.address, input=password)
    assert run(name, *certificates, "--authfile", str(mine)).startswith(GREETING)


def test_what_follows_the_image_is_the_program_s() -> None:
    done = dockerc("run", HELLO, "args", "--pull", "never", "--creds", "x")
    assert done.stdout.splitlines() == ["--pull", "never", "--creds", "x"]
    done = dockerc("run", "--pull", "never", "--", HELLO, "args", "--tls-verify=false")
    assert done.stdout.splitlines() == ["--tls-verify=false"]
    assert "is not one of" in failed("run", "--pull", "sometimes", HELLO, status=2)
    assert "needs a value" in failed("run", "--pull", status=2)


# What was meant


def test_paths_are_told_what_they_are(
    hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(hello, "app")
    shutil.copytree(FIXTURE, "layout")
    skopeo_copy(HELLO, "docker-archive:docker.tar:hello:1", "--override-arch", "amd64")
    skopeo_copy(HELLO, "oci-archive:oci.tar")
    skopeo_copy(HELLO, f"dir:{tmp_path}/dir")
    Path("text").write_text("text")
    Path("x.tar.gz").write_bytes(b"\x1f\x8b")
    Path("context").mkdir()
    Path("context/Dockerfile").touch()
    for name, said in {
        "./app": "is an executable that dockerc made, and no image; start it: ./app",
        f"{tmp_path}/app": f"start it: {tmp_path}/app",
        "./layout": "is an OCI layout; write oci:./layout",
        "./dir": "write dir:./dir",
        "docker.tar": "is an archive; write docker-archive:docker.tar",
        "./oci.tar": "is an archive; write oci-archive:./oci.tar",
        "x.tar.gz": "write docker-archive:x.tar.gz or oci-archive:x.tar.gz",
        "./none": "nothing is there",
        "./text": "needs its transport",
        "./context": "is what an image is built from",
    }.items():
        assert said in failed("run", name, status=2)
    assert "write docker-archive:docker.tar" in failed("build", "docker.tar", "-o", "out", status=2)
    # And with the transport that was named it works.
    assert run("docker-archive:docker.tar").startswith(GREETING)
    assert run("oci-archive:oci.tar").startswith(GREETING)


def test_a_name_may_be_that_of_a_file(
    registry: LyingRegistry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf(home, f'unqualified-search-registries = ["{registry.address}"]')
    (home / "app").write_text("text")
    monkeypatch.chdir(home)
    assert run("app").startswith(GREETING)


# What the cache holds


def test_images_by_name(tmp_path: Path) -> None:
    assert listed("images") == []
    run(HELLO)
    dockerc("build", HELLO, "--arch", "arm64", "-o", tmp_path / "arm")
    rows = {row["platform"]: row for row in listed("images")}
    assert {row["reference"] for row in rows.values()} == {HELLO}
    own, other = rows["linux/amd64"], rows["linux/arm64"]
    assert (own["layers"], own["runs"], other["layers"], other["runs"]) == (2, True, 2, False)
    inspected = json.loads(dockerc("inspect", "--json", HELLO).stdout)
    assert own["digest"] == inspected["image"]["digest"]
    files = listed("cache", "ls")
    assert own["size"] == sum(f["size"] for f in files if own["digest"][7:] in f["name"]) + sum(
        f["size"] for f in files if any(
            layer["diff_id"][7:] in f["name"] for layer in inspected["layers"])
    )  # fmt: skip
    assert all(file["images"] == [HELLO] for file in files)
    table = dockerc("images").stdout
    assert re.search(rf"{re.escape(HELLO)} +linux/amd64 +{own['digest'][7:19]} +[0-9.]+ kB", table)
    assert HELLO in dockerc("cache", "ls").stdout


def test_names_go_with_their_files(cache: Path) -> None:
    run(HELLO)
    assert len(list((cache / "names").iterdir())) == 1
    dockerc("cache", "prune")
    assert list((cache / "names").iterdir()) == [] and listed("images") == []


def test_prune_says_first_what_would_go(cache: Path) -> None:
    run(HELLO)
    files = listed("cache", "ls")
    told = dockerc("cache", "prune", "--all", "--dry-run").stdout.splitlines()
    assert [line.split()[:2] for line in told[:-1]] == [[f["kind"], f["name"]] for f in files]
    assert re.fullmatch(r"would remove 1 executable and 2 packs, [0-9.]+ kB", told[-1])
    assert listed("cache", "ls") == files
    assert (
        dockerc("cache", "prune", "--dry-run", "--keep", "1GB").stdout == "would remove nothing\n"
    )
    assert dockerc("cache", "prune", "--keep", "0.1").stdout.startswith("removed ")
    assert dockerc("cache", "prune", "--all").stdout.startswith("removed ")
    assert listed("cache", "ls") == []
    assert "one of --all and --keep" in failed("cache", "prune", "--all", "--keep", "1GB", status=2)
    for wrong in ("much", "-1", "1XB", "1e9"):
        assert "is not a size" in failed("cache", "prune", f"--keep={wrong}", status=2)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"digest": 1}', '{"digest": "../../../x"}'])
def test_a_damaged_name_is_none(cache: Path, registry: LyingRegistry, text: str) -> None:
    name = f"{registry.address}/app"
    run(name)
    (entry,) = (cache / "names").iterdir()
    whole = json.loads(entry.read_text())
    entry.write_text(text.replace("}", f', "architecture": "{whole["architecture"]}"}}'))
    assert listed("images") == [] and listed("cache", "ls")[0]["images"] == []
    assert "is not in the cache" in failed("run", "--pull", "never", name)
    assert run(name).startswith(GREETING)
    assert run(name, "--pull", "never").startswith(GREETING)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_names_of_others_are_not_believed(cache: Path, registry: LyingRegistry) -> None:
    name = f"{registry.address}/app"
    run(name)
    (entry,) = (cache / "names").iterdir()
    os.chown(entry, 12345, 12345)
    assert "is not in the cache" in failed("run", "--pull", "never", name)
