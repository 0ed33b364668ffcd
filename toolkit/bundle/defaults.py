"""What every container gets, whatever its image: umoci's example configuration, adapted.

umoci, oci/config/convert/default.go. Where we differ on purpose, the reason stands beside it; the
complete list is in tests/bundle/test_bundle.py, which compares with umoci itself.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

# TERM is set where there is a terminal, to its own kind, by the runtime.
ENV = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)

# Docker's default set (moby, daemon/pkg/oci/caps/defaults.go), in which images are made and
# tested; umoci's three do not even let apt or nginx switch users.
_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)


def capabilities(uid: int) -> Json:
    """As docker: no ambient and no inheritable ones (CVE-2022-24769), and for a user other than
    root the bounding set alone, which is what execve(2) would leave of the others."""
    held = list(_CAPABILITIES) if uid == 0 else []
    return {
        "bounding": list(_CAPABILITIES),
        "effective": held,
        "inheritable": [],
        "permitted": held,
        "ambient": [],
    }


def mounts(rootfull: bool) -> list[Json]:
    """umoci's mounts; rootless ones as its `ToRootless` changes them."""
    devpts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    inert = ["nosuid", "noexec", "nodev"]
    result = [
        _mount("/proc", "proc", "proc", []),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        # The group tty has no id in a single-id user namespace.
        _mount("/dev/pts", "devpts", "devpts", [*devpts, "gid=5"] if rootfull else devpts),
        _mount("/dev/shm", "tmpfs", "shm", [*inert, "mode=1777", "size=65536k"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", inert),
    ]
    if rootfull:
        result += [
            _mount("/sys", "sysfs", "sysfs", [*inert, "ro"]),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*inert, "relatime", "ro"]),
        ]
    else:
        # Mounting sysfs anew takes ownership of the network namespace.
        result.append(_mount("/sys", "bind", "/sys", ["rbind", *inert, "ro"]))
    # The network is the host's, so its names are too, as with `docker run --network host`. umoci
    # binds resolv.conf alone, and only without root, because it has a network namespace else.
    for path in ("/etc/resolv.conf", "/etc/hosts"):
        result.append(_mount(path, "bind", path, ["rbind", "ro"]))
    return result


def _mount(destination: str, kind: str, source: str, options: list[str]) -> Json:
    mount: Json = {"destination": destination, "type": kind, "source": source}
    return {**mount, "options": options} if options else mount


def linux(rootfull: bool) -> Json:
    """The `linux` part. Id maps are left to the runtime, who knows where it runs and as whom."""
    # No network namespace: dockerc's executables use the host's network.
    namespaces = ["pid", "ipc", "uts", "mount", "cgroup"]
    settings: Json = {
        "namespaces": [{"type": kind} for kind in namespaces + ([] if rootfull else ["user"])],
        # Docker's lists (moby, daemon/pkg/oci/defaults.go); umoci's are older. What docker masks of
        # each CPU the runtime adds, which knows the machine's.
        "maskedPaths": [
            "/proc/acpi",
            "/proc/asound",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/sys/devices/virtual/powercap",
            "/sys/firmware",
        ],
        "readonlyPaths": [
            "/proc/bus",
            "/proc/fs",
            "/proc/irq",
            "/proc/sys",
            "/proc/sysrq-trigger",
        ],
    }
    if rootfull:
        settings["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return settings
