"""Execute a command as docker's default container would: `like_docker.py COMMAND...`.

A filter refuses mounts and new namespaces (moby's seccomp profile without CAP_SYS_ADMIN), and the
capability itself is dropped.
"""

import ctypes
import os
import platform
import struct
import sys

LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EPERM = 0x7FFF0000, 0x00050001
PR_SET_SECCOMP, PR_CAPBSET_DROP, FILTER_MODE = 22, 24, 2
CAP_SYS_ADMIN = 21
REFUSED = {
    "x86_64": (165, 272),  # mount, unshare
    "aarch64": (40, 97),
}[platform.machine()]

code = [(LOAD, 0, 0, 0)]
for number in REFUSED:
    code += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, EPERM)]
code += [(RETURN, 0, 0, ALLOW)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
pointer = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(program))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_SECCOMP, FILTER_MODE, ctypes.create_string_buffer(pointer), 0, 0) != 0:
    sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
if libc.prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) != 0:
    sys.exit(f"the capability is kept: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
