"""Layers, archives, configurations and caches that ask for more than they are worth."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from bounds_support import measured
from forge import CONFIG, Forge, forged_directory, forged_file
from layout import entry, file, hard_link, noise, pax, symlink, write_layout
from layout import tar_of as layer_of
from support import FIXTURES, TOOL, dockerc, failed

from toolkit.errors import DockercError
from toolkit.images.auth.credentials import find_credentials
from toolkit.limits import MAX_CONFIG, MAX_NOTES, MAX_STUB

HELLO = f"oci:{FIXTURES}/hello"
TERABYTE = 1 << 40


def sparse(name: str, size: int) -> tarfile.TarInfo:
    """A file that is all hole (GNU's format 0.1)."""
    return pax(name, {"GNU.sparse.size": str(size), "GNU.sparse.map": "0,0"})


def mapped(content: bytes) -> bytes:
    """A sparse file whose content is its map (GNU's format 1.0)."""
    content += bytes(-len(content) % 512)
    info, _ = file("f", content)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                        "GNU.sparse.name": "f", "GNU.sparse.realsize": "5000"}  # fmt: skip
    return layer_of((info, content))


def many_records() -> bytes:
    """A file with four megabytes of the shortest records."""
    data = b"5 a=\n" * 800_000
    data = data[: len(data) // 512 * 512 // 5 * 5]
    head = entry("x", b"x")
    head.size = len(data)
    plain = entry("f").tobuf(tarfile.USTAR_FORMAT)
    return head.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512) + plain


def headers(made: tuple[tarfile.TarInfo, bytes]) -> list[bytes]:
    """All blocks of an entry's headers."""
    return [made[0].tobuf(tarfile.PAX_FORMAT)]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(data)


LAYERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "terabytes of holes": (
        lambda: layer_of(*(sparse(f"f{n}", TERABYTE) for n in range(100))),
        "more than 8388608 blocks",
    ),
    "a terabyte of a hundred thousand names": (
        lambda: layer_of(sparse("f", TERABYTE), *(hard_link(f"l{n}", "f") for n in range(100_000))),
        "",
    ),
    "entries without end": (
        lambda: layer_of(entry("d", b"5"))[:512] * 700_000 + bytes(1024),
        "taken for an attack",
    ),
    "long names without end": (
        lambda: b"".join(headers(file("/".join(["d" * 250] * 15), b""))) * 50_000 + bytes(1024),
        "taken for an attack",
    ),
    "a map of a line without end": (
        lambda: mapped(b"1" * (64 << 20)),
        "a sparse file's map in its tar is malformed",
    ),
    "a map of lines without end": (
        lambda: mapped(b"99999999\n" + b"1\n" * (64 << 20)),
        "a sparse file's map in its tar is malformed",
    ),
    "a map of as many lines as can be": (
        lambda: mapped(b"262143\n" + b"0\n" * (2 * 262143)),
        "",
    ),
    "extended headers of many records": (
        lambda: many_records() * 200 + bytes(1024),
        "too many extended headers for its size: taken for an attack",
    ),
    "a path that is too long": (
        lambda: layer_of(file("/".join(["d" * 250] * 17), b"")),
        "a path of the image has 4273 bytes",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", LAYERS)
def test_layers_of_a_few_kilobytes(shared: Path, what: str) -> None:
    make, sentence = LAYERS[what]
    layout = write_layout(shared / "layout", [make()], compress=zstd)
    assert sum(path.stat().st_size for path in layout.rglob("*")) < 4 << 20
    done = measured("build", "-q", "--no-cache", f"oci:{layout}", "-o", shared / "app")
    assert done.is_bounded() and sentence in done.stderr, done
    assert done.status == (1 if sentence else 0), done
    assert (shared / "app").exists() is not bool(sentence)


def test_layers_that_want_large_windows(shared: Path) -> None:
    """128 MiB each (zstd --long=27): one after the other, not four at once."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=27)

    def far(data: bytes) -> bytes:
        return zstandard.ZstdCompressor(compression_params=parameters).compress(data)

    layers = [layer_of(file(f"f{n}", bytes(160 << 20))) for n in range(4)]
    layout = write_layout(shared / "layout", layers, compress=far)
    del layers
    done = measured("build", "-q", "--no-cache", f"oci:{layout}", "-o", shared / "app")
    assert done.status == 0 and done.is_bounded(), done


def test_layers_that_are_cached_count_too(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them together are as much in memory as one of both."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
    one, two = (layer_of(entry(name, b"5"))[:512] * 400_000 + bytes(1024) for name in "ab")
    for number, layers in enumerate(([one], [two])):
        layout = write_layout(shared / f"layout{number}", layers, compress=zstd)
        dockerc("build", "-q", f"oci:{layout}", "-o", shared / "app")
    layout = write_layout(shared / "both", [one, two], compress=zstd)
    done = measured("build", "-q", f"oci:{layout}", "-o", shared / "both-app")
    assert done.status == 1 and "taken for an attack" in done.stderr and done.is_bounded()


def test_attributes_of_any_number_of_names(shared: Path) -> None:
    """Each is left out with a note, but few notes are read."""
    junk = [pax(f"f{n}", {f"SCHILY.xattr.junk.{n}": "v"}) for n in range(3000)]
    half = len(junk) // 2
    layout = write_layout(shared / "layout", [layer_of(*junk[:half]), layer_of(*junk[half:])])
    told = dockerc("build", "-q", f"oci:{layout}", "-o", shared / "app").stderr.splitlines()
    assert len(told) <= MAX_NOTES + 1
    counts = [int(line.split(": ")[3].split()[0]) for line in told]
    assert sum(counts) == 3000


# Configurations


def test_a_configuration_that_no_runtime_would_take(shared: Path) -> None:
    """Neither `build` nor `edit` writes one."""
    words = ["x" * 200_000] * 11
    layout = write_layout(shared / "large", [layer_of(file("f", b""))], {"Entrypoint": words})
    told = failed("build", "-q", f"oci:{layout}", "-o", shared / "app")
    assert f"at most {MAX_CONFIG} are read" in told
    layout = write_layout(shared / "less", [layer_of(file("f", b""))], {"Entrypoint": words[:10]})
    dockerc("build", "-q", f"oci:{layout}", "-o", shared / "app")
    dockerc("inspect", "--config", shared / "app")
    option = [part for n in range(3) for part in ("--env", f"A{n}={'y' * 100_000}")]
    told = failed("edit", shared / "app", shared / "new", *option)
    assert f"at most {MAX_CONFIG} are read" in told and not (shared / "new").exists()


def test_configurations_that_nest(shared: Path, tmp_path: Path) -> None:
    for depth in (60, 900, 100_000):
        nest = "[" * depth + "]" * depth
        config = json.dumps(CONFIG)[:-1].encode() + f', "x": {nest}}}'.encode()
        app = Forge(forged_directory((b"f", forged_file())), config=config).write(shared / "app")
        for words in (["inspect", "--json", app], ["diff", app, app],
                      ["edit", app, shared / "new", "--cmd", "x"]):  # fmt: skip
            done = measured(*words)
            refused = 2 if words[0] == "diff" else 1
            assert done.is_bounded() and done.status == (0 if depth == 60 else refused), done
    layout = write_layout(tmp_path / "layout", [layer_of(file("f", b""))])
    (index,) = layout.glob("index.json")
    index.write_text('{"schemaVersion": 2, "manifests": [], "x": ' + "[" * 900 + "]" * 900 + "}")
    assert "nested too deeply" in failed("build", "-q", f"oci:{layout}", "-o", shared / "app2")


@pytest.mark.parametrize("option", ["--env", "--workdir", "--cmd", "--label", "--user", "--volume"])
def test_options_that_are_no_text(hello: Path, shared: Path, option: str) -> None:
    """It is the option that is told, not the payload."""
    value = {"--cmd": b"a\xff", "--volume": b"/a\xff:/b"}.get(option, b"A=\xff")
    command = [*TOOL, "edit", hello, shared / "new", option, value]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 2 and b"it is not UTF-8" in done.stderr
    zero = '["a\\u0000"]'
    assert "zero byte" in failed("edit", hello, shared / "new", "--cmd", zero, status=2)
    assert "not UTF-8" in failed("edit", hello, shared / "new", "--cmd", '["\\ud800"]', status=2)
    assert list(shared.iterdir()) == []


def on_a_terminal(*words: str | Path) -> bytes:
    """What a terminal is sent."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*TOOL, *map(str, words)], stdout=theirs) as process:
        os.close(theirs)
        sent = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:
                break
            if not piece:
                break
            sent += piece
        assert process.wait() == 0
    os.close(ours)
    return sent


def test_a_terminal_is_safe_from_formats_and_configurations(shared: Path) -> None:
    """ESC and the C1 controls; a pipe gets them as they are."""
    evil = "a\x1b[2Jb\x9b31mc\x85d\x7fe\u202ef"
    config = json.dumps({**CONFIG, "annotations": {"evil": evil}}, ensure_ascii=False)
    config = config.replace("\\u001b", "\x1b") + "\n\x1b[1m\x9b"
    app = Forge(forged_directory((b"f", forged_file()))).write(shared / "app")
    del config
    labels = {"Cmd": ["x"], "Labels": {"evil": evil}}
    layout = write_layout(shared / "layout", [layer_of(file("f", b""))], labels)
    dockerc("build", "-q", f"oci:{layout}", "-o", app)
    for words in (["--config"], ["--format", '{{index .Config.Annotations "evil"}}'],
                  ["--format", "{{json .Config}}"], ["--json"], []):  # fmt: skip
        sent = on_a_terminal("inspect", *words, app).decode()
        assert not [c for c in sent if not c.isprintable() and c not in "\r\n"], (words, sent)
    piped = dockerc("inspect", "--format", '{{index .Config.Annotations "evil"}}', app).stdout
    assert piped == evil + "\n"


def test_formats_of_lone_surrogates(shared: Path) -> None:
    config = json.dumps({**CONFIG, "annotations": {"x": "\ud800"}}).encode()
    app = Forge(forged_directory((b"f", forged_file())), config=config).write(shared / "app")
    done = dockerc("inspect", "--format", '{{index .Config.Annotations "x"}}', app)
    assert done.stdout == "\\ud800\n"


def test_a_stub_is_copied_whole_or_not_at_all(hello: Path, shared: Path) -> None:
    from toolkit.executable.executable import (
        FooterFields,
        copy_payload,
        open_executable,
        write_executable,
    )

    for size in (MAX_STUB, MAX_STUB + 4096):
        with open_executable(hello) as executable:

            def payload(target: Any, executable: Any = executable) -> FooterFields:
                copy_payload(executable, target)
                return FooterFields(False, None)

            write_executable(shared / "app", bytes(size - 1) + b"x", payload)
        if size == MAX_STUB:
            dockerc("edit", shared / "app", shared / "new", "--cmd", "x")
            assert (shared / "new").read_bytes()[:size] == bytes(size - 1) + b"x"
            (shared / "new").unlink()
        else:
            told = failed("edit", shared / "app", shared / "new", "--cmd", "x")
            assert f"at most {MAX_STUB} are copied" in told
        dockerc("inspect", shared / "app")
    assert [path.name for path in shared.iterdir()] == ["app"]


# What is compared


def test_verify_compares_the_configuration_with_the_image(hello: Path, shared: Path) -> None:
    told = dockerc("verify", "--reference", HELLO, hello).stdout
    assert f"it is {HELLO}, files and configuration" in told
    for options, field in (
        (["--cmd", "evil"], "process.args"), (["--env", "A=1"], "process.env"),
        (["--workdir", "/evil"], "process.cwd"), (["--user", "7"], "process.user.uid"),
        (["--volume", "/:/host"], "run.volumes"), (["--label", "a=b"], "annotations.a"),
    ):  # fmt: skip
        dockerc("edit", hello, shared / "app", *options)
        told = failed("verify", "--reference", HELLO, shared / "app")
        assert f"it is not {HELLO}: its configuration differs in" in told and field in told
    dockerc("build", "--rootfull", HELLO, "-o", shared / "rootfull")
    dockerc("verify", "--reference", HELLO, shared / "rootfull")


# Caches and helpers


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "layout", [layer_of(file("f", noise(2 << 20, 1)))])


@pytest.mark.root("mounts")
def test_a_cache_that_is_full_is_done_without(large: Path, shared: Path) -> None:
    """The output has room, and that is enough."""
    (shared / "cache").mkdir()
    tool = " ".join(f"'{word}'" for word in TOOL)
    script = f"mount -t tmpfs -o size=1M none {shared}/cache && {tool} build oci:{large}"
    # Where the image's name leads is kept: a few bytes, whole.
    script += f" -o {shared}/app && find {shared}/cache -type f -not -path '*/names/*'"
    environment = {**os.environ, "XDG_CACHE_HOME": str(shared / "cache")}
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "", done
    assert "the cache cannot hold it" in done.stderr
    assert (shared / "app").exists()


def test_a_directory_that_has_a_pack_s_name(
    large: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
    dockerc("build", f"oci:{large}", "-o", shared / "app")
    (pack,) = (shared / "cache" / "dockerc" / "packs").iterdir()
    expected = (shared / "app").read_bytes()
    pack.unlink()
    (pack / "x").mkdir(parents=True)
    dockerc("build", f"oci:{large}", "-o", shared / "app")
    assert (shared / "app").read_bytes() == expected
    assert [path.name for path in pack.parent.iterdir()] == [pack.name]


@pytest.mark.root("only root can give links away")
@pytest.mark.parametrize("which", ["dockerc", "dockerc/packs"])
def test_a_cache_that_is_somebody_s_link(large: Path, shared: Path, which: str) -> None:
    """It would lead to a directory of ours that is not meant for it."""
    mine, link = shared / "mine", shared / "cache" / which
    mine.mkdir()
    link.parent.mkdir(parents=True)
    link.symlink_to(mine)
    os.chown(link, 12345, 12345, follow_symlinks=False)
    environment = {**os.environ, "XDG_CACHE_HOME": str(shared / "cache")}
    dockerc("build", f"oci:{large}", "-o", shared / "app", env=environment)
    assert list(mine.iterdir()) == []


@pytest.mark.parametrize("name", ["x/../evil", "../evil", "/evil", "-x", "a b"])
def test_helpers_are_programs_of_the_path(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docker-credential-x").mkdir()
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    evil.chmod(0o755)
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"credHelpers": {"quay.io": name}}))
    with pytest.raises(DockercError, match="has a name that no program in PATH has"):
        find_credentials("quay.io", "app")
    assert not (tmp_path / "was-run").exists()
    shutil.rmtree(tmp_path / "docker-credential-x")


def test_loops_of_symlinks_in_layers(tmp_path: Path) -> None:
    layer = layer_of(symlink("a", "b"), symlink("b", "a"), file("a/f", b""))
    layout = write_layout(tmp_path / "layout", [layer])
    told = failed("build", "-q", f"oci:{layout}", "-o", tmp_path / "app")
    assert "runs through a loop of symlinks" in told
