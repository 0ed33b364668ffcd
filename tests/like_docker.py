"""Execute a command as docker's default container would: `like_docker.py COMMAND...`.

A filter refuses mounts and new namespaces (moby's seccomp profile without CAP_SYS_ADMIN), and the
capability itself is dropped.
"""

import ctypes
import errno
import os
import platform
import sys

from syscall_filter import FAIL, JUMP_EQUAL, RETURN, Instruction, install

PR_CAPBSET_DROP, CAP_SYS_ADMIN = 24, 21
REFUSED = {
    "x86_64": (165, 272),  # mount, unshare
    "aarch64": (40, 97),
}[platform.machine()]

code: list[Instruction] = []
for number in REFUSED:
    code += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, FAIL | errno.EPERM)]
install(code)
if ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) != 0:
    sys.exit(f"the capability is kept: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
