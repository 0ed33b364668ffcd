"""The rules of the rooms in runtimes/src: who may import whom, and what a file may hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "runtimes" / "src"

ORDER = (
    "base",
    "squashfs",
    "payload",
    "cli",
    "config",
    "namespaces",
    "process",
    "fuse",
    "rootfs",
    "keeper",
    "translation",
    "container",
    "instances",
    "machine",
    "",
)
"""A room imports itself and rooms before it. "" are the files at the top: the commands (run,
extract, doctor), main, and the roots of the tests' programs. launcher/, signatures/ and
hashing/ are compiled by themselves."""

ALONE = ("launcher", "signatures", "hashing")
SHARED = "launcher/loader_plan.zig"
"""What the tracer and its loader are both linked with."""

DOORS = {
    "fuse/prefetch": {"prefetcher.zig", "startup.zig"},
}
"""Folders in a room: the files that those outside of it may import; main.zig lists tests, and
fuzz.zig runs some."""

DANGEROUS = {
    "mount": {"namespaces/mount_namespace.zig": "only a namespace of our own has the method"},
    "umount2": {"namespaces/mount_namespace.zig": "the same"},
    "pivot_root": {"namespaces/mount_namespace.zig": "the same"},
    "move_mount": {"namespaces/mount_namespace.zig": "the same"},
    "open_tree": {"namespaces/mount_namespace.zig": "the same"},
    "fsmount": {"namespaces/mount_namespace.zig": "the same"},
    "mount_setattr": {"namespaces/mount_namespace.zig": "the same"},
    "reboot": {
        "namespaces/mount_namespace.zig": "asks whether this is the kernel's first process",
        "machine/boot.zig": "the machine of its own ends",
    },
    "chroot": {
        "process/own_process.zig": "only a process whose root is its own has the method",
        "namespaces/mount_namespace.zig": "to the root that we had, when we come back to it",
        "namespaces/userns.zig": "to where the root is already: asks whether it is allowed",
    },
    "kill": {
        "process/own_process.zig": "a child of ours that nobody has waited for",
        "process/signals.zig": "ourselves, and our own process group, as its terminal would",
        "launcher/launcher.zig": "the app, by its parent, which passes signals on",
    },
    "pidfd_send_signal": {
        "process/watchdog.zig": "the app, by a descriptor and not by a number",
        "instances/stop.zig": "a run that the caller named, by a descriptor as well",
    },
    "unlinkat": {
        "base/remove.zig": "directories of a run, on one mount, and through no link",
        "container/perform.zig": "a file in the container's root, replaced by a copy",
        "fuse/profile_file.zig": "the file that it made itself, if it cannot be written",
        "translation/name_calls.zig": "what the program removes, in a directory of the run",
    },
    "rmdir": {},
    "setns": {
        "instances/enter.zig": "a run of the caller's, checked after every call",
        "namespaces/mount_namespace.zig": "that of a shared mount, and our own",
        "namespaces/userns.zig": "that of a shared mount, whose owner we are",
    },
    "tgkill": {},
    "tkill": {},
}
"""System calls that could harm the machine: the files that may name them, each with its reason."""

VARIABLES = {
    "base/sha256_processor.zig": "what the processor has is asked once, by whoever hashes first",
    "base/log.zig": "a panic handler has no argument to find them by",
    "launcher/loader.zig": "the tracer writes there before the program runs",
    "fuzz.zig": "libFuzzer calls a function without a context",
}
"""Files with mutable variables of their own, each with its reason."""

LINES_MAX = 400
COLUMNS_MAX = 100
FUNCTION_MAX = 70

FILES = {path.relative_to(SOURCE).as_posix(): path.read_text() for path in SOURCE.rglob("*.zig")}
IMPORT = re.compile(r'@import\("([^"]+\.zig)"\)')


def room(name: str) -> str:
    first, slash, _ = name.partition("/")
    return first if slash else ""


def imports(name: str) -> set[str]:
    """The files that a file imports, as paths below SOURCE."""
    folder = (SOURCE / name).parent
    found = IMPORT.findall(FILES[name])
    return {(folder / each).resolve().relative_to(SOURCE).as_posix() for each in found}


def cycle(name: str, allowed: str, path: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """A ring of imports through `name` in one room, or None."""
    if name in path:
        return (*path[path.index(name) :], name)
    for other in sorted(imports(name)):
        if room(other) == allowed and (found := cycle(other, allowed, (*path, name))):
            return found
    return None


def blocks(text: str) -> Iterator[tuple[str, int]]:
    """Every function, with its number of lines; `zig fmt` puts its end below its beginning."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if not (start := re.match(r"( *)(?:pub |export |noinline |inline )*fn (\w+)", line)):
            continue
        for end in range(at, len(lines)):
            if lines[end] == start[1] + "}":
                yield start[2], end - at + 1
                break
            if end == at and line.endswith("}"):
                break


def test_a_room_imports_no_later_room() -> None:
    wrong = []
    for name in sorted(FILES):
        own = room(name)
        for other in sorted(imports(name)):
            if {own, room(other)} & {*ALONE}:
                allowed = own == room(other) or other == SHARED
            else:
                allowed = ORDER.index(room(other)) <= ORDER.index(own)
            if not allowed:
                wrong.append(f"{name} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_every_file_is_in_a_room() -> None:
    assert {room(name) for name in FILES} == {*ORDER, *ALONE}


def test_no_ring_of_imports_in_a_room() -> None:
    rings = [cycle(name, room(name)) for name in sorted(FILES)]
    assert not any(rings), [ring for ring in rings if ring]


def test_folders_are_entered_by_their_doors() -> None:
    wrong = [
        f"{name} imports {other}"
        for name in sorted(FILES.keys() - {"main.zig", "fuzz.zig"})
        for other in sorted(imports(name))
        for folder, doors in DOORS.items()
        if other.startswith(f"{folder}/") and not name.startswith(f"{folder}/")
        if other.removeprefix(f"{folder}/") not in doors
    ]
    assert not wrong, "\n".join(wrong)


def test_every_file_with_tests_is_collected() -> None:
    """Zig runs the tests of files that the root's own test names, and of no others."""
    listed = set(IMPORT.findall(FILES["main.zig"].split("\ntest {\n")[1]))
    with_tests = {name for name, text in FILES.items() if re.search(r'^test ["{]', text, re.M)} - {
        "main.zig"
    }
    assert listed == with_tests


def test_dangerous_calls_stay_in_their_files() -> None:
    names = "|".join(DANGEROUS)
    call = re.compile(rf"\b(?:do|call|raw|syscall\d)\(\s*\.({names})\b")
    library = re.compile(rf"\b(?:linux|posix)\.({names})\b")
    found = {
        (each, name)
        for name, text in FILES.items()
        for pattern in (call, library)
        for each in pattern.findall(text)
    }
    allowed = {(each, name) for each, names in DANGEROUS.items() for name in names}
    assert found == allowed


def test_one_file_decides_where_threads_run() -> None:
    """CpuPolicy: a placement elsewhere would not know of the others."""
    placement = re.compile(r"\(\s*\.sched_setaffinity\b|\bAffinity\b")
    assert {name for name, text in FILES.items() if placement.search(text)} == {
        "process/cpu_policy.zig"
    }


def test_no_variables_outside_of_functions() -> None:
    assert {name for name, text in FILES.items() if file_variables(text)} == set(VARIABLES)


def file_variables(text: str) -> list[str]:
    """Variables of a file, or of a type in it, which are as good as that."""
    found = []
    scopes: list[bool] = []  # whether each open brace is a type's
    for line in text.splitlines():
        code = re.sub(r"//.*|\\\\.*|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)+'", "", line)
        if all(scopes) and re.match(r" *(?:pub |export )?(?:threadlocal )?var ", code):
            found.append(line)
        for brace in re.finditer(r"[{}]", code):
            if brace[0] == "{":
                before = code[: brace.start()]
                scopes.append(bool(re.search(r"\b(?:struct|enum|union)\b(?:\([^)]*\))? $", before)))
            else:
                scopes.pop()
    return found


def test_files_are_of_one_noun_and_one_screen() -> None:
    wrong = []
    for name, text in sorted(FILES.items()):
        lines = text.splitlines()
        if len(lines) > LINES_MAX:
            wrong.append(f"{name} has {len(lines)} lines")
        wrong += [
            f"{name}:{at} has {len(line)} columns"
            for at, line in enumerate(lines, 1)
            if len(line) > COLUMNS_MAX
        ]
        wrong += [
            f"{name}: {function} has {count} lines"
            for function, count in blocks(text)
            if count > FUNCTION_MAX
        ]
    assert not wrong, "\n".join(wrong)
