"""Parts of a machine's start that need no machine: the archive, the words, the control port."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from support import need

from toolkit.bundle.baked import check_volume
from toolkit.errors import RefusedError, UsageError
from toolkit.machine.forwards import forwards
from toolkit.machine.guest import Guest, Share
from toolkit.machine.initramfs import Entry, initramfs
from toolkit.machine.kernel import Module
from toolkit.machine.options import wanted
from toolkit.machine.relay import Control, Exit
from toolkit.machine.shares import Shares


def test_the_archive_as_cpio_reads_it(tmp_path: Path) -> None:
    need("cpio")
    modules = [Module("one", b"1" * 5), Module("two", b"")]
    files = [Entry("files/0", 0o100640, b"given")]
    data = initramfs(b"stub", modules, b"settings", files)
    words = ["cpio", "-i", "--quiet", "--no-absolute-filenames", "-d"]
    listed = subprocess.run(
        ["cpio", "-itv", "--quiet"], input=data, check=True, capture_output=True
    ).stdout.decode()
    names = [line.split()[-1] for line in listed.splitlines()]
    assert names == [
        "dev", "dev/console", "init", "dockerc-vm", "modules", "modules/one", "modules/two",
        "files", "files/0",
    ]  # fmt: skip
    wanted_lines = {"dev/console": "crw-------", "init": "-rwxr-xr-x", "files/0": "-rw-r-----"}
    for line in listed.splitlines():
        mode, name = line.split()[0], line.split()[-1]
        assert mode == wanted_lines.get(name, mode)
    out = tmp_path / "out"
    out.mkdir()
    unpack = [*words, "modules/*", "init", "files/*"]
    subprocess.run(unpack, input=data, cwd=out, check=True)
    assert (out / "modules" / "one").read_bytes() == b"1" * 5
    assert (out / "files" / "0").read_bytes() == b"given"


def test_what_the_first_process_is_told() -> None:
    guest = Guest("ab", 5, ["app", "a b", ""], ["A=1"], ["fuse"], [Share("t", "/x", True)])
    records = guest.encode().split(b"\0")
    assert records == [
        b"token ab", b"size 5", b"processors 1", b"network 1", b"module fuse", b"share-ro t",
        b"argument app", b"argument a b", b"argument ", b"variable A=1", b"",
    ]  # fmt: skip
    guest.arguments.append("a\0b")
    with pytest.raises(UsageError, match="a zero byte cannot stand in an argument"):
        guest.encode()


def test_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's options go to the runtime in the machine; what is the machine's does not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKERC_ARGS", "-e X=1 --name y")
    monkeypatch.setenv("MINE", "value")
    words = ["-it", "-eMINE", "--rm", "-m", "2g", "--cpus=1.5", "--cwd", "--net=none", "x", "-v"]
    found = wanted("app", words, {"dev.dockerc.run.options": '["--init","-m=1g"]'})
    assert found.arguments == ["x", "-v"]
    assert found.words == ["--init=true", "--env=X=1", "--env=MINE", "--cpus=1.5", "--network=none"]
    assert found.first == [f"--volume=/shares/share0:{tmp_path}", f"--workdir={tmp_path}"]
    assert found.variables == ["MINE=value"]
    assert (found.memory, found.processors, found.network) == (2 << 30, 2, False)


def test_the_last_word_for_a_port_counts() -> None:
    first, second = forwards(["127.0.0.1:0:80", "8000-8999:80/udp"], ["80/tcp"])
    assert (first.protocol, first.inside, first.ip) == ("tcp", 80, "127.0.0.1")
    assert second.was_chosen and 8000 <= second.outside <= 8999
    assert second.rule() == f"udp::{second.outside}-10.0.2.15:80"


def test_files_that_are_too_large(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for size, fits in ((64 << 20, True), ((64 << 20) + 1, False)):
        with file.open("r+b") as opened:
            opened.truncate(size)
        if fits:
            assert Shares().add(str(file), "/f", read_only=True) == "/files/0:/f:ro"
        else:
            with pytest.raises(RefusedError, match="files of more than 64 MiB are not copied"):
                Shares().add(str(file), "/f", read_only=True)


def test_lines_without_end() -> None:
    """Whoever has taken over the machine cannot fill this one's memory, nor crash the command."""
    for data, answer in {
        b"other\nexit 3 10 20\n": Exit(3, (10, 20)),
        b"exit 259 1 2\n": Exit(3, (1, 2)),
        b"exit -1 1 2\nexit x\nexit\n": None,
        b"x" * 100_000: None,
        b"": None,
    }.items():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            assert Control(ours).wait_for_exit() == answer


def test_paths_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive is no volume's name there; elsewhere, and in an executable, such a path means
    nothing."""
    text = r"C:\data\of me:/data:ro"
    for refused in (text, "d:/x:/y"):
        with pytest.raises(UsageError, match="this is a path of Windows; `dockerc vm` takes it"):
            check_volume(refused)
        with pytest.raises(UsageError, match="this is a path of Windows"):
            Shares().volume(refused)
    assert check_volume("a:/x") == ("a", "/x", False)
    assert check_volume("a:/x:ro") == ("a", "/x", True)
    added: list[tuple[str, str, bool]] = []
    monkeypatch.setattr(Shares, "add", lambda _, *given: added.append(given))
    monkeypatch.setattr("toolkit.machine.shares.sys.platform", "win32")
    for each in (text, "d:/x:/y", "a:/x"):
        Shares().volume(each)
    assert added == [
        ("C:\\data\\of me", "/data", True), ("d:/x", "/y", False), ("a", "/x", False),
    ]  # fmt: skip
