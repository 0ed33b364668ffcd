"""What the rivals start from: the image unpacked by umoci, and that as a squashfs of mksquashfs."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import ORDINARY


@dataclass(frozen=True)
class Rivals:
    """One image as dockerc 0.3 prepares it, for the ordinary user."""

    bundle: Path
    squashfs: Path

    @classmethod
    def prepare(cls, image: Path, work: Path) -> Rivals:
        """umoci unpack --rootless, mksquashfs -comp zstd."""
        self = cls(work / f"{image.name}.bundle", work / f"{image.name}.sqfs")
        ORDINARY.timed("umoci", "unpack", "--rootless", "--image", f"{image}:latest", self.bundle)
        (self.rootfs / "etc" / "resolv.conf").touch()  # crun would make it inside
        for name in ("proc", "dev", "sys"):  # and bubblewrap cannot, in a tree that it only reads
            (self.rootfs / name).mkdir(exist_ok=True)
        options = ["-comp", "zstd", "-noappend", "-force-uid", "0", "-force-gid", "0"]
        quiet = ["-quiet", "-no-progress"]
        subprocess.run(["mksquashfs", self.bundle, self.squashfs, *options, *quiet], check=True)
        return self

    @property
    def rootfs(self) -> Path:
        """The unpacked tree."""
        return self.bundle / "rootfs"

    def config(self, args: list[str], user_namespace: int | None) -> Path:
        """A config.json that runs `args`.

        `user_namespace` is the id that its root is outside of it, None for no such namespace.
        """
        config: dict[str, Any] = json.loads((self.bundle / "config.json").read_text())
        config["process"] |= {"args": args, "terminal": False}
        linux = config["linux"]
        mapped = linux.pop("uidMappings"), linux.pop("gidMappings")
        if user_namespace is None:
            linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "user"]
        else:
            for mappings in mapped:
                mappings[0]["hostID"] = user_namespace
            linux["uidMappings"], linux["gidMappings"] = mapped
        path = self.bundle.with_suffix(f".{abs(hash((*args, user_namespace)))}.json")
        path.write_text(json.dumps(config))
        path.chmod(0o644)
        return path

    def bwrap(self, args: list[str], *writable: str) -> list[str | Path]:
        """bubblewrap on the unpacked tree, with directories to write to."""
        mounts: list[str | Path] = [
            "--ro-bind",
            self.rootfs,
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
        ]
        for directory in writable:
            mounts += ["--tmpfs", directory]
        return ["bwrap", "--unshare-all", *mounts, *args]

    def crun(self, args: list[str], uid: int) -> list[str | Path]:
        """crun on the unpacked tree."""
        return [*_CRUN, "-b", self.bundle, "-f", self.config(args, uid), self.bundle.stem]

    def kernel(self, args: list[str]) -> list[str | Path]:
        """Root's way: loop device, the kernel's squashfs, overlayfs, crun."""
        script = f"""set -e
        mount -t tmpfs tmpfs /mnt; mkdir /mnt/s /mnt/u /mnt/w /mnt/m
        mount -t squashfs -o ro,loop {self.squashfs} /mnt/s
        mount -t overlay -o lowerdir=/mnt/s,upperdir=/mnt/u,workdir=/mnt/w overlay /mnt/m
        exec {" ".join(_CRUN)} -b /mnt/m -f {self.config(args, None)} k$$"""
        return ["unshare", "-m", "sh", "-c", script]

    def old_chain(self, args: list[str]) -> list[str | Path]:
        """What dockerc 0.3 does at every start: its tools, written out first, then run."""
        script = f"""set -e
        t=$(mktemp -d)
        cp /usr/bin/squashfuse /usr/bin/fuse-overlayfs /usr/bin/crun $t/
        mkdir $t/s $t/u $t/w $t/m
        $t/squashfuse {self.squashfs} $t/s
        $t/fuse-overlayfs -o lowerdir=$t/s,upperdir=$t/u,workdir=$t/w $t/m 2>/dev/null
        cat {self.config(args, 0)} >$t/m/config.json
        $t/{" ".join(_CRUN)} -b $t/m d$$ && status=0 || status=$?
        umount $t/m; umount $t/s; rm -r $t
        exit $status"""
        return ["unshare", "-Urm", "sh", "-c", script]


_CRUN = ["crun", "--cgroup-manager=disabled", "run"]
