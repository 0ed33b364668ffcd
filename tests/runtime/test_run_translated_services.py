"""Without user namespaces: servers, compilers and package managers whose paths are translated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ports_support import free_ports
from test_run_services import (
    APT,
    CHROMIUM,
    GCC,
    GIT,
    JAVA,
    MARIADB,
    POSTGRES,
    REDIS,
    services,  # noqa: F401 - a fixture
)
from translated import Translated, in_own_cache


@pytest.fixture(scope="module")
def run() -> Iterator[Translated]:
    with in_own_cache() as made:
        yield made


def shell(script: str, *words: str) -> list[str]:
    return ["sh", "-c", script, "-", *words]


STEPS_DOWN = (
    "install -d -o postgres -g postgres $1; stat -c %U:%G $1;"
    ' exec setpriv --reuid=postgres --regid=postgres --init-groups sh -c "$2" - $1'
)
PROGRAMS = {
    "postgres": (
        ["-u", "postgres", *shell(POSTGRES, "/var/lib/postgresql/test")],
        "SELECT 1000\n500500\n",
        0,
    ),
    "postgres started by root": (
        shell(STEPS_DOWN, "/srv/cluster", POSTGRES),
        "postgres:postgres\nSELECT 1000\n500500\n",
        0,
    ),
    "mariadb": (["-u", "mysql", *shell(MARIADB, "/tmp")], "42\n", 0),
    "redis": (shell(REDIS), "OK\n42\n", 0),
    "gcc": (shell(GCC), "compiled\n", 7),
    "git": (shell(GIT), "change 3\nchange 2\nchange 1\n", 0),
    "node": (
        ["node", "-e", "console.log(require('child_process').execSync('ls /srv; echo sub') + 1)"],
        "sub\n1\n",
        0,
    ),
    "java": (shell(JAVA), "written 500500\n", 3),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(run: Translated, services: Path, name: str) -> None:  # noqa: F811
    words, output, status = PROGRAMS[name]
    done = run(services, *words, timeout=120)
    assert (done.returncode, done.stdout) == (status, output), done.stderr


def test_chromium(run: Translated, services: Path) -> None:  # noqa: F811
    done = run(services, *shell(CHROMIUM), timeout=120)
    assert done.returncode == 0 and '<p id="p">sum 42</p>' in done.stdout, done.stderr


FETCH = """
nginx
for i in 1 2 3; do
    perl -MIO::Socket -e '$s = IO::Socket::INET->new("127.0.0.1:80") or die;
        print $s "GET / HTTP/1.0\\r\\n\\r\\n"; print scalar <$s>'
done
nginx -s stop
"""


def test_nginx_on_another_port(run: Translated, services: Path) -> None:  # noqa: F811
    (port,) = free_ports()
    done = run(services, "-p", f"{port}:80", *shell(FETCH))
    assert (done.returncode, done.stdout) == (0, "HTTP/1.1 200 OK\n" * 3), done.stderr


def test_apt_get_installs(run: Translated, deb: Path) -> None:
    done = run(deb, *shell(APT), timeout=120)
    expected = "Hello, world!\nStatus: install ok installed\n_apt\n"
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


INSTALLED = r"""
set -e
{
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        make rsync busybox-static musl-tools gosu sqlite3
} >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
mkdir /srv/p
cd /srv/p
for i in $(seq 12); do echo "int f$i(int x) { return x + $i; }" >f$i.c; done
{
    seq -f 'int f%g(int);' 12
    echo 'int main(void) { int x = 0;'
    seq -f 'x = f%g(x);' 12
    echo 'return x != 78; }'
} >main.c
printf 'prog: main.o %s\n\tcc -o $@ $^\n%%.o: %%.c\n\tcc -c -o $@ $<\n' \
    "$(seq -f f%g.o -s ' ' 12)" >Makefile
make -s -j4
./prog && echo made
musl-gcc -static -o static main.c f*.c
./static && echo static
rsync -a --delete /srv/p/ /srv/q/
rsync -a --delete --checksum -i /srv/p/ /srv/q/
diff -r /srv/p /srv/q
busybox find /srv/p -name '*.c' | busybox wc -l
busybox sh -c 'cd /srv/q; ls | tail -n 1; tar c . | tar t | wc -l'
gosu nobody busybox id -un
su -s /bin/sh nobody -c 'id -u'
sqlite3 /tmp/db 'pragma journal_mode=wal; create table t(i); insert into t values (1), (2);
    select sum(i) from t'
"""
"""gosu is a static program of Go's."""


def test_what_apt_get_has_installed(run: Translated, services: Path) -> None:  # noqa: F811
    done = run(services, *shell(INSTALLED), timeout=120)
    expected = "made\nstatic\n13\nstatic\n30\nnobody\n65534\nwal\n3\n"
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
