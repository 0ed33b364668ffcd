"""Real applications: they change users, own their files, listen, compile, and are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from images_support import common
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


MARIADB = """
set -e
mariadb-install-db --user=$(id -un) --datadir=$1/db --auth-root-authentication-method=normal \\
    --skip-test-db >/dev/null
mariadbd --user=$(id -un) --datadir=$1/db --socket=/tmp/sql --pid-file=/tmp/pid \\
    --skip-networking >/tmp/log 2>&1 &
until mariadb-admin -u root -S /tmp/sql ping >/dev/null 2>&1; do sleep 0.05; done
mariadb -u root -S /tmp/sql -Ne 'create database d; create table d.t (i int) engine=innodb;
    insert into d.t values (1), (2), (39); select sum(i) from d.t'
mariadb-admin -u root -S /tmp/sql shutdown
wait
"""

JAVA = r"""
set -e
cat >/srv/Main.java <<'END'
import java.nio.file.*;
import java.util.stream.*;
public class Main {
    public static void main(String[] words) throws Exception {
        Files.writeString(Path.of("/srv/out"), words[0]);
        long sum = IntStream.rangeClosed(1, 1000).parallel().mapToLong(i -> i).sum();
        System.out.println(Files.readString(Path.of("/srv/out")) + " " + sum);
        System.exit(3);
    }
}
END
javac -d /srv /srv/Main.java
exec java -Xshare:auto -cp /srv Main written
"""

CHROMIUM = """
mkdir /tmp/page
echo '<p id=p></p><script>p.textContent = "sum " + [1, 2, 39].reduce((a, b) => a + b)</script>' \\
    >/tmp/page/index.html
exec chromium --headless --no-sandbox --disable-gpu --user-data-dir=/tmp/profile --dump-dom \\
    file:///tmp/page/index.html 2>/tmp/log
"""

TYPESCRIPT = """
set -e
echo 'const f = (n: number): string => `typed ${n}`; console.log(f(7))' >/srv/a.ts
tsc --outDir /srv /srv/a.ts
node /srv/a.js
! echo 'const n: number = "no"' >/srv/b.ts || tsc --noEmit /srv/b.ts
"""


@pytest.fixture(scope="session")
def services(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of servers, a compiler and the like, built; $DOCKERC_TEST_IMAGES may have it."""
    with common(tmp_path_factory, "services") as directory:
        if not (directory / "app").exists():
            images = Path(os.environ.get("DOCKERC_TEST_IMAGES", directory))
            if not (images / "services.tar").exists():
                if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
                    pytest.skip("real images are made by root with mmdebstrap")
                subprocess.run([TESTS / "make_images.sh", directory, "services"], check=True)
            # 1.7 GB; what is asked here does not depend on how small they get.
            source = f"docker-archive:{images}/services.tar"
            dockerc("build", "--level", "1", source, "-o", directory / "app")
        # Each module that takes this fixture has one of its own.
        if not (place / "services").exists():
            (place / "services").hardlink_to(directory / "app")
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
        assert process.wait(timeout=60) in (0, 143)
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


@pytest.fixture(
    params=["user", "without sub-ids", pytest.param("root", marks=pytest.mark.root("own"))]
)
def anybody(request: pytest.FixtureRequest) -> list[str]:
    """The start of a command line for each kind of caller."""
    if request.param == "without sub-ids":
        if os.geteuid() != 0:
            pytest.skip("taking another user id wants root")
        return NOBODY_S
    return Runner(request.param == "root").command()


def completed(words: list[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def test_mariadb(anybody: list[str], services: Path) -> None:
    done = completed([*anybody, services, "-u", "mysql", "sh", "-c", MARIADB, "-", "/tmp"])
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


def test_openjdk(anybody: list[str], services: Path) -> None:
    done = completed([*anybody, services, "sh", "-c", JAVA])
    assert (done.returncode, done.stdout, done.stderr) == (3, "written 500500\n", "")


def test_chromium_without_a_window(anybody: list[str], services: Path) -> None:
    done = completed([*anybody, services, "sh", "-c", CHROMIUM])
    assert done.returncode == 0 and '<p id="p">sum 42</p>' in done.stdout, done.stderr


def test_an_application_of_npm_s(anybody: list[str], services: Path) -> None:
    done = completed([*anybody, services, "sh", "-c", TYPESCRIPT])
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("typed 7\nsrv/b.ts(1,7): error TS2322"), done.stdout


@pytest.fixture(scope="session")
def httpie(images: Path, place: Path) -> Path:
    """An application of PyPI's on the image with Python, a tool."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", place / "pypi", "httpie"]
    subprocess.run(command, check=True)
    options = ["--add-file", f"{place}/pypi:/opt/httpie", "-e", "PYTHONPATH=/opt/httpie"]
    entrypoint = ["--entrypoint", '["python3", "-m", "httpie"]']
    source = f"oci:{images}/python"
    dockerc("build", source, *options, *entrypoint, "--args", "program", "-o", place / "http")
    return place / "http"


def test_an_application_of_pypi_s(anybody: list[str], httpie: Path, tmp_path: Path) -> None:
    (tmp_path / "page.json").write_text('{"answer": 42}')
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with server:
        url = f"http://127.0.0.1:{server.server_port}/page.json"
        done = completed([*anybody, httpie, "--body", "--ignore-stdin", "-v", url])
        server.shutdown()
    assert done.returncode == 0 and '"answer": 42' in done.stdout, done.stderr
