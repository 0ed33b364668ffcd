"""Without user namespaces: tests of coreutils pass inside if they pass in an ordinary run.

Debian's sources have them; the programs are the image's. $DOCKERC_TEST_SUITES takes all of them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Runner, dockerc, need
from translated import Translated, in_own_cache

SOURCES = r"""
set -e
mkdir -p lists/partial parts
for file in /etc/apt/sources.list.d/*.sources; do
    [ ! -e "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" >"parts/${file##*/}"
done
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -e "$file" ] || sed 's/^deb /deb-src /' "$file" >"parts/${file##*/}"
done
apt() {
    apt-get -qq -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$PWD/parts" \
        -o "Dir::State::Lists=$PWD/lists" -o APT::Sandbox::User=root "$@"
}
apt update
apt source --download-only coreutils
mkdir coreutils
tar -x --strip-components=1 --no-same-owner -C coreutils -f coreutils_*.orig.tar.xz \
    --wildcards 'coreutils-*/tests' 'coreutils-*/init.cfg'
"""
RUN = r"""#!/bin/bash
# Prints the exit status of each test.
cd /coreutils
export LC_ALL=C srcdir=. top_srcdir=. abs_top_srcdir=$PWD abs_top_builddir=$PWD abs_srcdir=$PWD
export VERSION=9 PACKAGE_VERSION=9 SHELL=/bin/bash PERL=perl AWK=awk EGREP='grep -E' MAKE=false
export CONFIG_HEADER=$PWD/lib/config.h host_os=linux-gnu host_triplet=x86_64-pc-linux-gnu fail=0
export built_programs="$(dpkg -L coreutils | grep /bin/ | xargs -n1 basename | tr '\n' ' ')"
mkdir src lib
: >lib/config.h
# Built from C, else.
printf '%s\n' '#!/bin/sh' 'echo UID_MAX=4294967295' 'echo UINTMAX_MAX=18446744073709551615' \
    >src/getlimits
chmod +x src/getlimits
export PATH=$PWD/src:$PATH
for test in "$@"; do
    export CU_TEST_NAME=coreutils,$(echo $test | tr / -)
    timeout -k 1 60 bash $test >/dev/null 2>&1 9>&2 </dev/null
    echo $test $?
done
"""
SOME = ["ln", "mv", "rmdir", "readlink", "touch", "install"]
ALL = [*SOME, "chgrp", "chmod", "chown", "cp", "du", "ls", "misc", "mkdir", "rm"]
OTHERWISE = {
    "tests/du/bigtime.sh": "wants a time that ext4 does not have",
    "tests/du/long-from-unreadable.sh": "wants longer paths (docs/translation.md)",
    "tests/misc/pwd-long.sh": "wants longer paths (docs/translation.md)",
}


@pytest.fixture(scope="module")
def run() -> Iterator[Translated]:
    with in_own_cache() as made:
        yield made


@pytest.fixture(scope="module")
def suite(images: Path, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The debian image with the tests in it, which are removed from the sources but these."""
    need("apt-get")
    sources = tmp_path_factory.mktemp("sources")
    subprocess.run(["sh", "-c", SOURCES], cwd=sources, check=True, timeout=300)
    (sources / "run-tests").write_text(RUN)
    (sources / "run-tests").chmod(0o755)
    added = [f"{sources}/coreutils:/coreutils", f"{sources}/run-tests:/usr/bin/run-tests"]
    options = [word for each in added for word in ("--add-file", each)]
    dockerc("build", f"oci:{images}/debian", *options, "-o", place / "coreutils")
    return place / "coreutils"


def statuses(output: str) -> dict[str, int]:
    return {name: int(status) for name, status in map(str.split, output.splitlines())}


def test_what_passes_in_an_ordinary_run_passes(run: Translated, suite: Path) -> None:
    wanted = ALL if "DOCKERC_TEST_SUITES" in os.environ else SOME
    listed = " ".join(f"tests/{name}/*.sh" for name in wanted)
    words = ["sh", "-c", f"cd /coreutils; exec run-tests {listed}"]
    user = Runner(as_root=False)
    expected = statuses(user(suite, *words, env={"DOCKERC_LOG": "quiet"}, timeout=900).stdout)
    got = statuses(run(suite, *words, timeout=900).stdout)
    passed = {name for name, status in expected.items() if status == 0} - OTHERWISE.keys()
    assert len(passed) > len(expected) / 2 > 30
    assert {name: got[name] for name in passed if got[name] != 0} == {}
