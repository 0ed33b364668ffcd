"""The system call filter is docker's default one, call by call, and there is no start without.

What docker allows is pinned in fixtures/docker/calls.json. The filters compared with it are those
that the stub's code makes, run as the kernel runs them (seccomp(2), bpf(4)).
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support import FIXTURES, TESTS, Runner, need

sys.path.append(str(TESTS.parent / "runtimes"))
import build

DOCKERS = json.loads((FIXTURES / "docker/calls.json").read_text())
ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000

ARCHES = {
    "x86_64": ("x86_64", 0xC000003E),
    "i386": ("x86_64", 0x40000003),
    "x32": ("x86_64", 0xC000003E),
    "aarch64": ("aarch64", 0xC00000B7),
    "arm": ("aarch64", 0x40000028),
}
"""Whose stub has the filter, and linux/audit.h's name of the architecture."""

CAPABILITIES = {
    "CAP_DAC_READ_SEARCH": 2, "CAP_SYS_MODULE": 16, "CAP_SYS_RAWIO": 17, "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19, "CAP_SYS_PACCT": 20, "CAP_SYS_ADMIN": 21, "CAP_SYS_BOOT": 22,
    "CAP_SYS_NICE": 23, "CAP_SYS_TIME": 25, "CAP_SYS_TTY_CONFIG": 26, "CAP_SYSLOG": 34,
    "CAP_PERFMON": 38, "CAP_BPF": 39,
}  # fmt: skip
SETS = [(), *((name,) for name in CAPABILITIES), tuple(CAPABILITIES)]

Program = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True)
class Call:
    """What a process asks of the kernel."""

    arch: str
    number: int
    arguments: tuple[int, ...] = (0,) * 6

    def argument(self, index: int) -> int:
        """An argument, of 64 bits."""
        return (self.arguments + (0,) * 6)[index]


def verdict(program: Program, call: Call) -> int:
    """What the kernel does with the call."""
    data = struct.pack(
        "<IIQ6Q", call.number, ARCHES[call.arch][1], 0, *map(call.argument, range(6))
    )
    accumulator = at = 0
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            at += k
        elif code == 0x06:
            return k
        else:
            holds = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: accumulator & k != 0,
            }[code]
            at += if_true if holds else if_false


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Program]]:
    """For each stub its filters, one for each of SETS."""
    need("qemu-aarch64-static")
    work = tmp_path_factory.mktemp("filters")
    found = {}
    for machine, runner in (("x86_64", []), ("aarch64", ["qemu-aarch64-static"])):
        tool = work / machine
        build.filter_dump(machine, tool, work / "cache")
        masks = [f"{sum(1 << CAPABILITIES[name] for name in names):x}" for names in SETS]
        dump = subprocess.run([*runner, tool, *masks], check=True, capture_output=True).stdout
        found[machine] = list(read_programs(dump))
        assert len(found[machine]) == len(SETS)
    return found


def read_programs(dump: bytes) -> Iterator[Program]:
    while dump:
        (length,) = struct.unpack_from("<I", dump)
        yield tuple(struct.iter_unpack("<HBBI", dump[4 : 4 + 8 * length]))  # type: ignore[misc]
        dump = dump[4 + 8 * length :]


@cache
def allowed(arch: str, held: tuple[str, ...]) -> frozenset[int]:
    """The numbers that docker allows whatever the arguments."""
    facts = DOCKERS[arch]
    kinds = ("always", *held)
    names = {name for kind in kinds for name in facts["allowed"].get(kind, [])}
    return frozenset(facts["numbers"][name] for name in names)


def dockers(call: Call, held: tuple[str, ...]) -> int:
    """What docker's filter does with the call."""
    if call.number in allowed(call.arch, held):
        return ALLOW
    for rule in conditions(call.arch).get(call.number, []):
        if rule["without"] not in held and all(fits(call, *each) for each in rule["arguments"]):
            return 0x00050000 | rule["errno"] if rule["errno"] else ALLOW
    return EPERM


@cache
def conditions(arch: str) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for rule in DOCKERS[arch]["conditions"]:
        found.setdefault(DOCKERS[arch]["numbers"][rule["call"]], []).append(rule)
    return found


def fits(call: Call, index: int, operator: str, value: int) -> bool:
    given = call.argument(index)
    return {
        "EQ": given == value,
        "LT": given < value,
        "GT": given > value,
        "MASKED_EQ": given & value == 0,
    }[operator]


def cases(arch: str) -> Iterator[Call]:
    """Every call number, and those with conditions with arguments at their edges."""
    base = 0x40000000 if arch == "x32" else 0
    for number in (*range(1100), *range(0xF0000, 0xF0010), 0x3FFFFFFF, 0xFFFFFFFF):
        yield Call(arch, base + number & 0xFFFFFFFF)
    for number, rules in conditions(arch).items():
        values = {0, 1, 0xFFFFFFFF, *(value for rule in rules for *_, value in rule["arguments"])}
        for value in sorted(values):
            for near in (value - 1, value, value + 1, value << 1, value >> 1):
                yield Call(arch, number, (near & 0xFFFFFFFF,))
        for bit in range(32):
            yield Call(arch, number, (1 << bit,))


def ours(call: Call) -> int | None:
    """The verdict where we differ from docker, and why; docs/filter.md says so too."""
    numbers = DOCKERS[call.arch]["numbers"]
    # Nothing is made for x32, and few kernels have it: CVE-2014-0038 was one of its own.
    if call.arch == "x32" or (call.arch == "x86_64" and call.number >= 0x40000000):
        return EPERM
    # Its arguments are behind a pointer: docker's socket rules do not hold for it. A call for a
    # socket of any kind is answered as by a kernel without it; socket(2) is there since Linux 4.3.
    if call.number == numbers.get("socketcall") and call.argument(0) & 0xFFFFFFFF == 1:
        return ENOSYS
    # What is typed into a terminal by these would be read by the caller's shell.
    if call.number == numbers["ioctl"] and call.argument(1) & 0xFFFFFFFF in (0x5412, 0x541C):
        return EPERM
    return None


@pytest.mark.parametrize("arch", ARCHES)
def test_every_call_is_judged_as_by_docker(arch: str, programs: dict[str, list[Program]]) -> None:
    wrong = []
    names = {number: name for name, number in DOCKERS[arch]["numbers"].items()}
    for held, program in zip(SETS, programs[ARCHES[arch][0]], strict=True):
        for call in cases(arch):
            expected = ours(call)
            if expected is None:
                expected = dockers(call, held)
            if (told := verdict(program, call)) != expected:
                name = names.get(call.number, call.number)
                wrong.append(f"{name} {call.arguments[0]:#x} with {held}: {told:#x}")
    assert not wrong, wrong[:20]


@pytest.mark.parametrize("arch", [arch for arch in ARCHES if arch != "x32"])
def test_no_ioctl_types_into_a_terminal(arch: str, programs: dict[str, list[Program]]) -> None:
    number = DOCKERS[arch]["numbers"]["ioctl"]
    for program in programs[ARCHES[arch][0]]:
        for command in (0x5412, 0x541C):
            # The kernel looks at 32 bits of it only (CVE-2019-10063, bubblewrap's).
            for above in (0, 1 << 32, 0xFFFFFFFF << 32):
                call = Call(arch, number, (0, above | command, 0))
                assert verdict(program, call) == EPERM
        for command in (0x5401, 0x5411, 0x5413, 0x541B, 0x541D, 1 << 32 | 0x5401):
            assert verdict(program, Call(arch, number, (0, command, 0))) == ALLOW


@pytest.mark.parametrize("family", [38, 40])
def test_no_socket_of_a_kind_that_is_refused(
    family: int, programs: dict[str, list[Program]]
) -> None:
    for arch in ("x86_64", "i386", "aarch64", "arm"):
        for program in programs[ARCHES[arch][0]]:
            number = DOCKERS[arch]["numbers"]["socket"]
            # An int to the kernel: what stands above it changes nothing.
            for given in (family, 1 << 32 | family):
                assert verdict(program, Call(arch, number, (given,))) == EPERM
    for program in programs["x86_64"]:
        number = DOCKERS["i386"]["numbers"]["socketcall"]
        assert verdict(program, Call("i386", number, (1, 0xFFFF0000))) == ENOSYS
        assert verdict(program, Call("i386", number, (3, 0xFFFF0000))) == ALLOW


def test_calls_of_another_architecture_end_the_process(programs: dict[str, list[Program]]) -> None:
    assert verdict(programs["x86_64"][0], Call("arm", 1)) == KILL
    assert verdict(programs["aarch64"][0], Call("i386", 1)) == KILL


REFUSING = [sys.executable, str(TESTS / "refusing.py")]


@pytest.mark.parametrize("reason", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize("words", [[], ["--init"], ["--security-opt", "no-new-privileges=false"]])
def test_where_no_filter_can_be_installed_there_is_no_start(
    run: Runner, deb: Path, shared: Path, reason: str, words: list[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can refuse a call and let an ordinary user keep the rest")
    as_root = Runner(as_root=True)
    seen = ["-v", f"{shared}:/out", "sh", "-c", "echo x >/out/started"]
    done = as_root(*REFUSING, f"seccomp={reason}", *run.command(deb, *words, *seen))
    assert (done.returncode, done.stdout) == (125, "")
    (sentence,) = done.stderr.splitlines()
    assert "seccomp(2)" in sentence and "--security-opt seccomp=unconfined" in sentence
    assert not (shared / "started").exists()
    for asked in (["--security-opt", "seccomp=unconfined"], ["--privileged"]):
        done = as_root(
            *REFUSING, f"seccomp={reason}", *run.command(deb, *words, *asked, "echo", "started")
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "started\n", "")


def test_the_app_has_the_filter_that_was_compared(
    run: Runner, deb: Path, shared: Path, programs: dict[str, list[Program]]
) -> None:
    need("strace")
    trace = shared / "trace"
    traced = ["strace", "-v", "-qq", "-f", "-e", "trace=seccomp", "-o", trace]
    capabilities = ["--cap-drop", "ALL", "--cap-add", "SYS_CHROOT"]
    # Traced, set-id programs map no ids, and root with one id has a filter before this one.
    done = run(*traced, deb, *capabilities, "--no-root-emulation", "true")
    assert done.returncode == 0, done.stderr
    (call,) = (line for line in trace.read_text().splitlines() if "seccomp(" in line)
    for name, value in (("ALLOW", ALLOW), ("KILL_PROCESS", KILL), ("ERRNO", 0x50000)):
        call = call.replace(f"SECCOMP_RET_{name}", hex(value))
    installed = [
        (*words.split(", ")[1:], "0", "0")[: 3 if kind == "JUMP" else 1]
        for kind, words in re.findall(r"BPF_(STMT|JUMP)\(([^()]*)\)", call)
    ]
    expected = programs["x86_64"][SETS.index(("CAP_SYS_CHROOT",))]
    assert len(installed) == len(expected) > 100
    for words, (_, if_true, if_false, k) in zip(installed, expected, strict=True):
        value = sum(int(part, 0) for part in words[0].split("|"))
        assert (value, *(int(word, 0) for word in words[1:])) in ((k, if_true, if_false), (k,))


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_a_program_cannot_type_nor_open_such_sockets(
    run: Runner, deb: Path, shared: Path, init: list[str]
) -> None:
    """By the kernel itself, with perl, which the image has."""
    script = (
        'open(T, "+<", "/dev/ptmx"); $c = "x"; for ([0x5412, "TIOCSTI"], [0x541c, "TIOCLINUX"])'
        ' { ioctl(T, $_->[0], $c); print "$_->[1] ", $! + 0, "\\n" }'
        ' for (38, 40) { socket(S, $_, 5, 0); print "$_ ", $! + 0, "\\n" }'
        ' socket(S, 1, 1, 0) && print "local\\n"'
    )
    done = run(deb, *init, "perl", "-e", script)
    assert done.stdout == "TIOCSTI 1\nTIOCLINUX 1\n38 1\n40 1\nlocal\n", done.stderr


def test_a_profile_that_is_given_lets_nobody_type(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "all.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    script = 'open(T, "+<", "/dev/ptmx"); $c = "x"; ioctl(T, 0x5412, $c); print $! + 0, "\\n"'
    words = ["--security-opt", f"seccomp={shared}/all.json", "perl", "-e", script]
    assert run(deb, *words).stdout == "1\n"
