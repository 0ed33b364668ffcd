"""Whatever a database holds, it makes packages or notes, and never another error."""

from __future__ import annotations

import json
import random
import sqlite3
import time
import zlib
from pathlib import Path

import pytest
from packages_support import Tree, archive, elf, go_info, mutant, ndb, rpm_header

HEADER = rpm_header({1000: "bash", 1001: "5", 1002: "1", 1014: "GPL", 1022: "noarch"}, epoch=1)


def samples(place: Path) -> dict[str, bytes]:
    connection = sqlite3.connect(place / "rpmdb.sqlite")
    connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob)")
    connection.execute("INSERT INTO Packages (blob) VALUES (?)", (HEADER,))
    connection.commit()
    connection.close()
    pom = b"groupId=g\nartifactId=a\nversion=1\n"
    inner = archive({"META-INF/maven/g/a/pom.properties": pom, "META-INF/MANIFEST.MF": b"A: b\n"})
    modules = "path\tx\nmod\tx\tv1\ndep\ty/z\tv2\n"
    crates = json.dumps({"packages": [{"name": "a", "version": "1"}]}).encode()
    return {
        "etc/os-release": b"ID=debian\nVERSION_ID='12'\n",
        "var/lib/dpkg/status": b"Package: a\nStatus: hold ok installed\nVersion: 1\nSource: b\n",
        "lib/apk/db/installed": b"P:musl\nV:1\nA:x86\nL:MIT\nF:lib\nR:x\n\n",
        "var/lib/rpm/rpmdb.sqlite": (place / "rpmdb.sqlite").read_bytes(),
        "usr/lib/sysimage/rpm/Packages.db": ndb([HEADER, HEADER]),
        "a.dist-info/METADATA": b"Name: a\nVersion: 1\nLicense: MIT\n",
        "node_modules/a/package.json": b'{"name": "@s/a", "version": "1", "license": "M"}',
        "a.jar": archive({"b.jar": inner, "META-INF/MANIFEST.MF": b"Bundle-Version: 1\n"}),
        "bin/go": elf({b".go.buildinfo": go_info("go1.22", modules)}),
        "bin/rust": elf({b".dep-v0": zlib.compress(crates)}, ">", wide=False),
    }


@pytest.mark.parametrize("seed", range(2))
def test_mutants(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    whole = samples(tmp_path)
    assert len(Tree(whole).inventory().packages) >= 9
    slowest = noted = 0.0
    for _ in range(150):
        files = {path: mutant(data, chance) for path, data in whole.items()}
        before = time.process_time()
        noted += len(Tree(files).inventory().notes)
        slowest = max(slowest, time.process_time() - before)
    assert noted > 100 and slowest < 2
