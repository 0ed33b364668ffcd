"""A real Docker Engine: images go there and back, and our executables run in its containers."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import dockerc, need

pytestmark = pytest.mark.root("dockerd wants root")

OPTIONS = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=overlay2"]
"""Nothing of the machine's network is touched."""


class Docker:
    """docker's client, talking to an engine of the test's own."""

    def __init__(self, socket: Path) -> None:
        self.environment = os.environ | {"DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "0"}

    def __call__(self, *words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        command = ["docker", *map(str, words)]
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            command, capture_output=True, text=True, timeout=120, env=self.environment, **options
        )

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """A command in a new container with the machine's network."""
        return self("run", "--rm", "--network", "host", *words)


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """An engine."""
    need("dockerd", "docker")
    place = tmp_path_factory.mktemp("engine")
    client = Docker(place / "socket")
    roots = ["--data-root", place / "data", "--exec-root", place / "exec"]
    listen = ["--pidfile", place / "pid", "-H", f"unix://{place}/socket"]
    with (place / "log").open("w") as log:
        engine = subprocess.Popen(["dockerd", *OPTIONS, *roots, *listen], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while client("version").returncode != 0:
            assert engine.poll() is None and time.monotonic() < deadline, (
                place / "log"
            ).read_text()
            time.sleep(0.1)
        yield client
    finally:
        engine.terminate()
        engine.wait(timeout=60)
        subprocess.run(["umount", "-q", place / "exec/netns/default"])


@pytest.fixture(scope="module")
def deb(images: Path, place: Path) -> Path:
    """The debian image, built."""
    output = place / "deb-engine"
    dockerc("build", f"oci:{images}/debian", "-o", output)
    return output


@pytest.fixture(scope="module")
def loaded(docker: Docker, deb: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image that went from an executable to the engine."""
    archive = tmp_path_factory.mktemp("archive") / "image.tar"
    dockerc("extract", deb, "--docker-archive", archive)
    told = docker("load", "-i", archive).stdout
    assert told == "Loaded image: deb-engine:latest\n"
    return "deb-engine:latest"


def test_an_executable_becomes_docker_s_image(docker: Docker, loaded: str) -> None:
    done = docker.run(loaded, "sh", "-c", "cat /etc/os-release; id -u")
    assert "bookworm" in done.stdout and done.stdout.endswith("\n0\n"), done.stderr


def test_what_docker_built_becomes_an_executable(
    docker: Docker, loaded: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        f'FROM {loaded}\nRUN rm -r /srv && echo made >/made\nENTRYPOINT ["cat"]\nCMD ["/made"]\n'
    )
    assert docker("build", "--network", "host", "-t", "tool", tmp_path).returncode == 0
    number = docker("image", "inspect", "-f", "{{.Id}}", "tool").stdout.strip()
    apps = []
    for index, name in enumerate(("tool", f"tool@{number}", number)):
        apps.append(tmp_path / f"tool{index}")
        dockerc("build", f"docker-daemon:{name}", "-o", apps[-1], env=docker.environment)
    for app in apps:
        done = subprocess.run([app], capture_output=True, text=True)
        assert (done.stdout, done.returncode) == ("made\n", 0), done.stderr
        squashfs = "{{.Squashfs.Sha256}}"
        assert "srv" not in dockerc("ls", app, "/").stdout.split()
        assert dockerc("inspect", "--format", squashfs, app).stdout


NAMESPACES = ["--security-opt=seccomp=unconfined", "--device=/dev/fuse"]


@pytest.mark.parametrize(
    "options",
    [[], ["--cap-add=SYS_ADMIN", *NAMESPACES], ["-u", "1000", *NAMESPACES]],
    ids=["default", "root may mount", "user may make namespaces"],
)
def test_an_executable_in_a_container_of_docker_s(
    docker: Docker, loaded: str, deb: Path, options: list[str]
) -> None:
    script = "cat /etc/os-release; echo x >/srv/x; cat /srv/x; exit 7"
    done = docker.run(*options, "-v", f"{deb}:/app:ro", loaded, "/app", "sh", "-c", script)
    assert done.returncode == 7, done.stderr
    assert "bookworm" in done.stdout and done.stdout.endswith("\nx\n")


def test_an_ordinary_user_there_is_told(docker: Docker, loaded: str, deb: Path) -> None:
    script = "cat /etc/os-release; id -u; echo x >/srv/x; cat /srv/x | tr x y; exit 7"
    app = ("-v", f"{deb}:/app:ro", loaded, "/app", "sh", "-c", script)
    done = docker.run("-u", "1000", *app)
    assert done.returncode == 7, done.stderr
    assert "bookworm" in done.stdout and done.stdout.endswith("\n0\ny\n")
    assert len(done.stderr.splitlines()) == 1 and "not isolated" in done.stderr
