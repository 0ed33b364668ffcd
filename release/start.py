"""The first program in the tool's own executable: gives dockerc its caller's machine.

The container holds Python and dockerc; the machine is bound at /host, and its caller's directory
at /cwd (release/make.py bakes that in). Here the machine becomes the root, so that every path is
what the caller means by it, and credential helpers, docker and ssh, and whatever `dockerc run`
starts, find theirs. Python goes on from the image, which a descriptor keeps.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

HOST, DIRECTORY = "/host", "/cwd"
TOOL, PYTHON = "/dockerc/tool.py", "/dockerc/python"
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
MOUNT_SETATTR = 442
"""Numbers of system calls that old C libraries have no functions for."""
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
ATTR_NODEV = 4
MS_REC, MS_PRIVATE, MNT_DETACH = 1 << 14, 1 << 18, 2
AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # SUSE
)
FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def main() -> None:
    # Without namespaces of its own, which have a first process, mounts would be the machine's.
    if os.getpid() != 1:
        sys.exit("dockerc: this executable of the tool needs namespaces; install it by pip instead")
    if child := os.fork():
        sys.exit(wait_for(child))
    loader, python = os.path.realpath(loader_of_python()), os.path.realpath(sys.executable)
    libraries = [path for path in library_directories() if Path(path).is_dir()]
    directory = name_of_directory()
    image = os.open("/", os.O_PATH)
    os.set_inheritable(image, True)
    # By this process's number and not "self": programs that it starts come by here as well.
    root = f"/proc/{Path(HOST, 'proc/self').readlink()}/fd/{image}"
    search = ":".join(root + path for path in libraries)
    words = [root + loader, "--library-path", search, root + python]
    # Python is started by way of its own loader and libraries, later as well.
    Path(PYTHON).write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
    Path(PYTHON).chmod(0o755)
    become_root()
    os.chdir(directory)
    words += ["-I", "-S", root + TOOL, *sys.argv[1:]]
    os.execve(words[0], words, caller_environment(root))


def wait_for(child: int) -> int:
    """Process 1 of the container does no more, for a runtime that `dockerc run` starts must not be
    that one."""
    for number in FORWARDED:
        signal.signal(number, lambda number, _: os.kill(child, number))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def loader_of_python() -> str:
    """The dynamic loader, as it is mapped in this process."""
    with open("/proc/self/maps") as maps:
        return next(path for line in maps if "/ld-linux" in (path := line.split()[-1]))


def library_directories() -> Iterator[str]:
    triplet = getattr(sys.implementation, "_multiarch", "")
    for prefix in (sys.base_prefix, "/usr", ""):
        yield os.path.realpath(f"{prefix}/lib/{triplet}")
        yield os.path.realpath(f"{prefix}/lib")


def name_of_directory() -> str:
    """The name that the directory at DIRECTORY has on the machine."""
    here = Path(DIRECTORY).stat()
    mounts = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        _, _, device, root, place = line.split(" ")[:5]
        mounts.append((device, *(part.encode().decode("unicode_escape") for part in (root, place))))
    device, root = next((device, root) for device, root, at in mounts if at == DIRECTORY)
    for other, top, place in mounts:
        if other != device or not (place == HOST or place.startswith(f"{HOST}/")):
            continue
        path = Path(os.path.normpath(f"{place}/{os.path.relpath(root, top)}"))
        if path.exists() and os.path.samestat(path.stat(), here):
            return str(path).removeprefix(HOST) or "/"
    sys.exit("dockerc: cannot find the working directory's name; start dockerc in another one")


def become_root() -> None:
    """HOST is the root of this container from now on (pivot_root(2), `pivot_root(".", ".")`)."""
    libc = ctypes.CDLL(None, use_errno=True)
    check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
    mounts = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for fields in reversed(mounts):
        # The runtime's own workspace, which it has mounted over a directory of the machine.
        if fields[4].startswith(HOST) and fields[fields.index("-") + 2] == "dockerc":
            check(libc.umount2(fields[4].encode(), MNT_DETACH))
    # The runtime opens no device of the machine to a container; a run that is started from here
    # needs /dev/fuse. Whatever the caller may not open, stays closed.
    attributes = (ctypes.c_uint64 * 4)(0, ATTR_NODEV, 0, 0)
    where = f"{HOST}/dev".encode()
    size = ctypes.sizeof(attributes)
    check(libc.syscall(MOUNT_SETATTR, AT_FDCWD, where, AT_RECURSIVE, attributes, size))
    os.chdir(HOST)
    check(libc.syscall(PIVOT_ROOT[os.uname().machine], b".", b"."))
    check(libc.umount2(b".", MNT_DETACH))
    os.chdir("/")


def check(result: int) -> None:
    if result:
        reason = os.strerror(ctypes.get_errno())
        sys.exit(f"dockerc: cannot show the tool its caller's machine: {reason}")


def caller_environment(root: str) -> dict[str, str]:
    """The caller's (release/make.py), with the machine's authorities, and HOME in any case."""
    environment = {**os.environ, "DOCKERC_IMAGE": root, "PWD": str(Path.cwd())}
    environment.pop("LD_PRELOAD", None)  # libraries of the machine are none for this Python
    if not environment.get("HOME"):
        uid = int(Path("/proc/self/uid_map").read_text().split()[1])
        try:
            environment["HOME"] = pwd.getpwuid(uid).pw_dir
        except KeyError:
            environment["HOME"] = "/"
    if found := next((path for path in AUTHORITIES if Path(path).exists()), None):
        environment.setdefault("SSL_CERT_FILE", found)
    return environment


if __name__ == "__main__":
    main()
