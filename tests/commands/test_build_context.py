"""`dockerc build .`: docker, podman or buildah builds the image, whichever is there."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support import FIXTURES, dockerc, failed, need

DOCKERFILE = """\
FROM scratch AS first
ARG WHO=nobody
LABEL org.example.who=$WHO
COPY hello /bin/hello
ENTRYPOINT ["/bin/hello"]
FROM first AS second
CMD ["args", "second"]
"""


@pytest.fixture
def context(tmp_path: Path, hello: Path) -> Path:
    """A directory to build, with the fixture's program."""
    directory = tmp_path / "app"
    directory.mkdir()
    (directory / "hello").write_text(dockerc("--version").stdout)
    (directory / "Dockerfile").write_text(DOCKERFILE)
    return directory


def programs(tmp_path: Path, *names: str) -> Mapping[str, str]:
    """An environment with a PATH of nothing but these, and a storage of their own."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in (*names, "sh", "env"):
        path = shutil.which(name)
        assert path
        (directory / name).symlink_to(path)
    configuration = tmp_path / "storage.conf"
    configuration.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n'
    )
    return os.environ | {
        "PATH": str(directory),
        "CONTAINERS_STORAGE_CONF": str(configuration),
        "PYTHONPATH": str(FIXTURES.parent),
        "BUILDAH_ISOLATION": "chroot",
    }


@pytest.mark.parametrize("engine", [("podman",), ("buildah", "skopeo")], ids=lambda e: e[0])
def test_podman_and_buildah(tmp_path: Path, context: Path, engine: tuple[str, ...]) -> None:
    need(*engine)
    if os.geteuid() != 0:
        pytest.skip("only root has subordinate ids everywhere")
    environment = programs(tmp_path, *engine)
    words = ["--build-arg", "WHO=me", "--target", "first", "-t", "example.org/a/tool:3"]
    done = dockerc("build", "./app", *words, cwd=tmp_path, env=environment)
    assert "no --output, so the file is tool-3\n" in done.stderr
    told = dockerc("inspect", "--format", "{{.Image}}", tmp_path / "tool-3").stdout
    assert "org.example.who" in told and '"me"' in told.replace("'", '"')
    assert "second" not in told
    assert dockerc("cat", tmp_path / "tool-3", "/bin/hello").stdout.startswith("dockerc ")


FAKE = """\
#!/bin/sh
case $1 in
version) exit ${NO_DAEMON:-0} ;;
esac
printf '%s\\n' "$@" >"$SEEN"
for word; do case $word in --iidfile=*) echo "$ANSWER" >"${word#*=}" ;; esac; done
exit ${STATUS:-0}
"""


@pytest.fixture
def docker(tmp_path: Path) -> Any:
    """A docker that notes what it is asked for, as the only program."""
    environment = dict(programs(tmp_path))
    fake = tmp_path / "bin" / "docker"
    fake.write_text(FAKE)
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    environment |= {"SEEN": str(tmp_path / "seen"), "ANSWER": f"sha256:{'a' * 64}"}
    environment["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"
    return environment


def test_docker_is_handed_the_directory(tmp_path: Path, context: Path, docker: Any) -> None:
    words = ["-f", "app/Dockerfile", "--build-arg", "A=1", "--build-arg", "B", "--target", "x"]
    told = failed("build", "-q", "./app", "-o", "out", *words, cwd=tmp_path, env=docker)
    assert "no container engine answers" in told  # to be asked for what was built
    build, *seen, iidfile, directory = (tmp_path / "seen").read_text().splitlines()
    assert (build, directory) == ("build", "./app") and iidfile.startswith("--iidfile=")
    assert seen == [
        "--build-arg=A=1", "--build-arg=B", "--file=app/Dockerfile", "--target=x", "--quiet"
    ]  # fmt: skip


def test_what_docker_cannot_build(tmp_path: Path, context: Path, docker: Any) -> None:
    words = ["build", "-q", context, "-o", tmp_path / "out"]
    told = failed(*words, env=docker | {"STATUS": "3"})
    assert f"docker cannot build {context}: it ended with status 3" in told
    told = failed(*words, env=docker | {"ANSWER": "what"})
    assert "docker did not say which image it has built" in told
    told = failed(*words, env=docker | {"NO_DAEMON": "1"})
    assert "needs docker (with its daemon), podman or buildah, and none is there" in told
    (context / "Dockerfile").unlink()
    assert "neither Dockerfile nor Containerfile" in failed(*words, env=docker)
    assert not (tmp_path / "out").exists()


def test_options_of_a_directory_need_one() -> None:
    told = failed("build", "python:3.12", "--target", "x", status=2)
    assert "go with a directory" in told
