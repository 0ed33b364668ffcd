"""`dockerc build -o`: the name that a file gets, what is overwritten, and standard output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support import FIXTURES, TOOL, dockerc, failed

from toolkit.commands.output import output_name
from toolkit.services.context import Recipe

HELLO = f"oci:{FIXTURES}/hello"
DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("python:3.12", "python-3.12"),
        ("docker://ghcr.io:443/a/b/tool:v1", "tool-v1"),
        ("python", "python"),
        ("python:latest", "python"),
        (f"python@sha256:{DIGEST}", "python-0123456789ab"),
        ("docker-daemon:python:3.12", "python-3.12"),
        (f"docker-daemon:sha256:{DIGEST}", "0123456789ab"),
        ("containers-storage:localhost/hello:2", "hello-2"),
        ("containers-storage:[vfs@/root+/run]localhost/hello:2", "hello-2"),
        ("oci:some/layout:1", "layout-1"),
        ("oci-archive:some/image.tar.gz", "image"),
        ("docker-archive:some/image.tar", "image"),
        ("docker-archive:some/image.tar:a/b:3", "b-3"),
        ("dir:some/dir/", "dir"),
    ],
)
def test_a_file_is_named_after_the_image(reference: str, name: str) -> None:
    assert output_name(reference, None) == Path(name)


@pytest.mark.parametrize(("tag", "name"), [(None, "app"), ("reg/tool:3", "tool-3")])
def test_or_after_the_directory_or_its_tag(tmp_path: Path, tag: str | None, name: str) -> None:
    (tmp_path / "app").mkdir()
    recipe = Recipe(f"{tmp_path}/app/.", None, (), None, tag)
    assert output_name(recipe.context, recipe) == Path(name)


def test_it_says_so_and_builds_again_over_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        done = dockerc("build", HELLO, cwd=tmp_path, env=os.environ | paths())
        assert "no --output, so the file is hello\n" in done.stderr
    assert subprocess.run([tmp_path / "hello"], capture_output=True).returncode == 0
    (tmp_path / "hello").write_text("mine")
    told = failed("build", "-q", HELLO, cwd=tmp_path, env=os.environ | paths())
    assert "hello exists and is no executable made by dockerc" in told
    assert (tmp_path / "hello").read_text() == "mine"


def paths() -> dict[str, str]:
    return {"PYTHONPATH": str(FIXTURES.parent)}


def test_only_executables_of_ours_are_overwritten(tmp_path: Path, hello: Path) -> None:
    output = tmp_path / "out"
    output.write_text("mine")
    told = failed("build", "-q", HELLO, "-o", output)
    assert "give another name, or --force" in told and output.read_text() == "mine"
    dockerc("build", "-q", HELLO, "-o", output, "--force")
    assert output.read_bytes() == hello.read_bytes()
    dockerc("build", "-q", HELLO, "-o", output)
    output.write_bytes(b"")  # as mktemp makes it
    dockerc("build", "-q", HELLO, "-o", output)
    assert output.read_bytes() == hello.read_bytes()


@pytest.mark.parametrize("suffix", ["", ":app:1"])
def test_the_image_itself_is_never_overwritten(tmp_path: Path, hello: Path, suffix: str) -> None:
    archive = tmp_path / "image.tar"
    dockerc("extract", hello, "--docker-archive", archive)
    before = archive.read_bytes()
    (tmp_path / "link").symlink_to(archive)
    for output in (archive, tmp_path / "link"):
        words = ["build", f"docker-archive:{archive}{suffix}", "-o", output, "--force"]
        assert "is the image itself" in failed(*words)
    assert archive.read_bytes() == before


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/proc/self/fd/1"])
def test_standard_output(tmp_path: Path, hello: Path, name: str) -> None:
    (tmp_path / "tmp").mkdir()
    command = [*TOOL, "build", "-q", HELLO, "-o", name]
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")} | paths()
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, hello.read_bytes(), b"")
    assert [path.name for path in tmp_path.rglob("*")] == ["tmp"]


def test_nothing_else_goes_to_standard_output() -> None:
    for words in (["--json"], ["--all-platforms"]):
        told = failed("build", HELLO, "-o", "-", *words, status=2)
        assert "standard output takes one executable and nothing else" in told


def test_json_says_what_was_made(tmp_path: Path) -> None:
    words = ["build", "-q", HELLO, "-o", tmp_path / "app", "--json"]
    made = json.loads(dockerc(*words).stdout)
    image = json.loads(dockerc("inspect", "--json", tmp_path / "app").stdout)["image"]
    assert made["output"] == str(tmp_path / "app")
    assert made["size"] == (tmp_path / "app").stat().st_size
    assert made["digest"] == image["digest"] and made["reference"] == image["reference"]
    both = json.loads(dockerc(*words, "--all-platforms").stdout)
    assert [each["platform"] for each in both] == ["linux/amd64", "linux/arm64"]


def test_a_dry_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["build", HELLO, "-o", tmp_path / "app", "--dry-run"]
    told = dockerc(*words)
    made = json.loads(dockerc(*words, "--json").stdout)
    assert list(tmp_path.iterdir()) == []
    assert made["digest"] in told.stdout and made["layers"][0]["diff_id"] in told.stdout
    assert [layer["cached"] for layer in made["layers"]] == [False, False]
    dockerc("build", "-q", HELLO, "-o", tmp_path / "app")
    made = json.loads(dockerc(*words, "--json").stdout)
    assert [layer["cached"] for layer in made["layers"]] == [True, True]
    assert "does not exist" in failed("build", "oci:none", "-o", "x", "--dry-run")
    told = failed("build", ".", "--dry-run", status=2)
    assert "--dry-run does not go with a directory" in told


def test_an_executable_is_nothing_for_a_terminal(tmp_path: Path) -> None:
    if not shutil.which("script"):
        pytest.skip("script is not installed")
    command = f"{' '.join(TOOL[:2])} '{TOOL[2]}' build -q {HELLO} -o -"
    done = subprocess.run(["script", "-qec", command, "/dev/null"], capture_output=True, text=True)
    assert done.returncode == 1 and "cannot go to a terminal" in done.stdout


def test_skopeos_words_for_a_platform(tmp_path: Path) -> None:
    words = ["build", "-q", HELLO, "-o", tmp_path / "app"]
    dockerc(*words, "--override-arch", "arm64", "--override-os", "linux")
    assert dockerc("inspect", "-f", "{{.Image.Architecture}}", tmp_path / "app").stdout == "arm64\n"
    told = failed(*words, "--override-os", "windows", status=2)
    assert "executables run images for linux, not for windows" in told
