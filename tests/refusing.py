"""Execute a command with a system call refused: `refusing.py CALL ERRNO COMMAND...`."""

import ctypes
import errno
import os
import platform
import struct
import sys

LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000
PR_SET_SECCOMP, FILTER_MODE = 22, 2
NUMBERS = {"seccomp": {"x86_64": 317, "aarch64": 277}}

number = NUMBERS[sys.argv[1]][platform.machine()]
code = [
    (LOAD, 0, 0, 0),
    (JUMP_EQUAL, 0, 1, number),
    (RETURN, 0, 0, FAIL | getattr(errno, sys.argv[2])),
    (RETURN, 0, 0, ALLOW),
]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
pointer = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(program))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_SECCOMP, FILTER_MODE, ctypes.create_string_buffer(pointer), 0, 0) != 0:
    sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[3], sys.argv[3:])
