"""Execute a command with some system calls refused: `refusing.py CALL=ERRNO,... COMMAND...`.

The filter (seccomp(2)) answers with the error, or with ERRNO 0, as if the call had been made.
"""

from __future__ import annotations

import errno
import os
import platform
import sys

from syscall_filter import FAIL, JUMP_ANY_BIT, JUMP_EQUAL, LOAD, RETURN, Instruction, install

CLONE_NEWPID = 0x20000000
NUMBERS = {
    "x86_64": {
        "clone": 56, "chroot": 161, "setpgid": 109, "setsid": 112, "setresuid": 117,
        "capset": 126, "pivot_root": 155, "prctl": 157, "mount": 165, "umount2": 166,
        "socketpair": 53, "mknodat": 259, "unshare": 272, "setns": 308, "memfd_create": 319,
        "execveat": 322, "statx": 332, "open_tree": 428, "move_mount": 429, "fsopen": 430,
        "pidfd_open": 434, "clone3": 435, "mount_setattr": 442, "landlock_create_ruleset": 444,
        "seccomp": 317, "chdir": 80, "fchdir": 81, "dup3": 292, "sendmsg": 46, "recvmsg": 47,
        "signalfd4": 289, "ppoll": 271, "mkdirat": 258, "symlinkat": 266, "openat2": 437,
        "readlinkat": 267, "getdents64": 217, "pidfd_getfd": 438, "ptrace": 101,
        "process_vm_readv": 310, "process_vm_writev": 311,
    },
    "aarch64": {
        "clone": 220, "chroot": 51, "setpgid": 154, "setsid": 157, "setresuid": 147,
        "capset": 91, "pivot_root": 41, "prctl": 167, "mount": 40, "umount2": 39,
        "socketpair": 199, "mknodat": 33, "unshare": 97, "setns": 268, "memfd_create": 279,
        "execveat": 281, "statx": 291, "open_tree": 428, "move_mount": 429, "fsopen": 430,
        "pidfd_open": 434, "clone3": 435, "mount_setattr": 442, "landlock_create_ruleset": 444,
        "seccomp": 277, "chdir": 49, "fchdir": 50, "dup3": 24, "sendmsg": 211, "recvmsg": 212,
        "signalfd4": 74, "ppoll": 73, "mkdirat": 34, "symlinkat": 36, "openat2": 437,
        "readlinkat": 78, "getdents64": 61, "pidfd_getfd": 438, "ptrace": 117,
        "process_vm_readv": 270, "process_vm_writev": 271,
    },
}[platform.machine()]  # fmt: skip
ARGUMENT = 16


def refuse(call: str, error: int) -> list[Instruction]:
    """The instructions; clone(2) is refused where it makes a namespace, for all else is a fork."""
    verdict = (RETURN, 0, 0, FAIL | error)
    if call != "clone":
        return [(JUMP_EQUAL, 0, 1, NUMBERS[call]), verdict]
    return [
        (JUMP_EQUAL, 0, 4, NUMBERS[call]),
        (LOAD, 0, 0, ARGUMENT),
        (JUMP_ANY_BIT, 0, 1, CLONE_NEWPID),
        verdict,
        (LOAD, 0, 0, 0),
    ]


def main() -> None:
    code: list[Instruction] = []
    for word in sys.argv[1].split(","):
        call, _, name = word.partition("=")
        code += refuse(call, int(name) if name.isdigit() else getattr(errno, name))
    install(code)
    os.execvp(sys.argv[2], sys.argv[2:])


main()
