"""Real applications: they change users, own their files, listen, compile, and are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from support import TESTS, Runner, dockerc, need

NOBODY_S = ["setpriv", "--reuid", "23456", "--regid", "23456", "--clear-groups"]
"""A user who has no sub-ids."""

POSTGRES = """
set -e
cluster=$1 bin=$(echo /usr/lib/postgresql/*/bin)
$bin/initdb -D $cluster -A trust >/dev/null
$bin/pg_ctl -D $cluster -w -s -l /tmp/log -o "-c listen_addresses='' -k /tmp" start
psql -h /tmp -Atc 'create table t as select generate_series(1, 1000) as i' postgres
psql -h /tmp -Atc 'select sum(i) from t' postgres
$bin/pg_ctl -D $cluster -w -s stop
"""

REDIS = """
redis-server --save '' --port 0 --unixsocket /tmp/redis --daemonize yes >/dev/null
until redis-cli -s /tmp/redis ping >/dev/null 2>&1; do sleep 0.02; done
redis-cli -s /tmp/redis set answer 42; redis-cli -s /tmp/redis get answer
redis-cli -s /tmp/redis shutdown nosave
"""

GCC = r"""
set -e
printf '#include <stdio.h>\nint main(void) { puts("compiled"); return 7; }\n' >/srv/a.c
gcc -O2 -Wall -o /srv/a /srv/a.c
/srv/a
"""

GIT = """
set -e
git init -q /srv/repo; cd /srv/repo
git config user.name me; git config user.email me@example.org
for i in 1 2 3; do echo $i >file; git add file; git commit -qm "change $i"; done
git gc -q; git log --format=%s; git status --short
"""

APT = """
set -e
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends hello >/dev/null 2>&1
hello; dpkg --status hello | grep ^Status; stat -c %U /var/cache/apt/archives/partial
"""


@pytest.fixture(scope="session")
def services(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of servers, a compiler and the like, built; $DOCKERC_TEST_IMAGES may have it."""
    directory = Path(os.environ.get("DOCKERC_TEST_IMAGES", ""))
    if not (directory / "services.tar").exists():
        if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
            pytest.skip("real images are made by root with mmdebstrap")
        directory = tmp_path_factory.mktemp("services")
        subprocess.run([TESTS / "make_images.sh", directory, "services"], check=True)
    dockerc("build", f"docker-archive:{directory}/services.tar", "-o", place / "services")
    return place / "services"


def test_postgres_as_its_own_user(run: Runner, services: Path) -> None:
    words = ["-u", "postgres", "sh", "-c", POSTGRES, "-", "/var/lib/postgresql/test"]
    done = run(services, *words)
    assert (done.returncode, done.stdout) == (0, "SELECT 1000\n500500\n"), done.stderr


def test_postgres_started_by_root_steps_down(run: Runner, services: Path) -> None:
    need("newuidmap")
    script = (
        "install -d -o postgres -g postgres $1; stat -c %U:%G $1;"
        ' exec setpriv --reuid=postgres --regid=postgres --init-groups sh -c "$2" - $1'
    )
    done = run(services, "sh", "-c", script, "-", "/srv/cluster", POSTGRES)
    expected = "postgres:postgres\nSELECT 1000\n500500\n"
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


def test_postgres_on_a_volume_without_sub_ids(services: Path, shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("taking another user id wants root")
    words = ["-u", "postgres", "-v", f"{shared}:/data", "sh", "-c", POSTGRES, "-", "/data/cluster"]
    command = [*NOBODY_S, services, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "SELECT 1000\n500500\n"), done.stderr
    files = list((shared / "cluster").rglob("*"))
    assert len(files) > 900 and {file.stat().st_uid for file in files} == {23456}


def test_nginx_serves(run: Runner, services: Path, shared: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (shared / "index.html").write_text("from outside\n")
    site = shared / "site"
    site.write_text(f"server {{ listen 127.0.0.1:{port}; root /data; }}")
    volumes = ["-v", f"{shared}:/data:ro", "-v", f"{site}:/etc/nginx/sites-enabled/default:ro"]
    command = run.command(services, *volumes, "nginx", "-g", "daemon off;")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        page = fetched(f"http://127.0.0.1:{port}/index.html", process)
        (master,) = owners(process.pid, "nginx: master")
        workers = owners(process.pid, "nginx: worker")
        process.terminate()
        assert process.wait(timeout=10) in (0, 143)
    assert page == "from outside\n"
    # The master is root, its workers are www-data: two users outside, too.
    assert workers and master not in workers


def fetched(url: str, server: subprocess.Popen[str]) -> str:
    """The page, as soon as the server is up."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as page:
                return str(page.read().decode())
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)


def owners(pid: int, title: str) -> set[int]:
    """The users of those of a process's descendants that have that title."""
    found = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            process = Path(f"/proc/{child}")
            if title in (process / "cmdline").read_text():
                found.add(process.stat().st_uid)
            found |= owners(child, title)
    return found


def test_redis(run: Runner, services: Path) -> None:
    done = run(services, "sh", "-c", REDIS)
    assert (done.returncode, done.stdout) == (0, "OK\n42\n"), done.stderr


def test_a_compiler(run: Runner, services: Path) -> None:
    done = run(services, "sh", "-c", GCC)
    assert (done.returncode, done.stdout, done.stderr) == (7, "compiled\n", "")


def test_git(run: Runner, services: Path) -> None:
    done = run(services, "sh", "-c", GIT)
    assert (done.returncode, done.stdout) == (0, "change 3\nchange 2\nchange 1\n"), done.stderr


def test_node(run: Runner, services: Path) -> None:
    script = "require('fs').writeFileSync('/srv/x', 'n'); console.log(6 * 7, process.pid)"
    done = run(services, "node", "-e", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42 1\n", "")


def test_apt_get_installs(run: Runner, images: Path, shared: Path) -> None:
    need("newuidmap")
    dockerc("build", f"oci:{images}/debian", "-o", shared / "deb")
    done = run(shared / "deb", "sh", "-c", APT)
    expected = "Hello, world!\nStatus: install ok installed\n_apt\n"
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
