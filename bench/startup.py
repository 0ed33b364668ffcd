"""Start-up: ours and the rivals, interleaved in the same run."""

from __future__ import annotations

import os
import pwd
import shutil
import statistics
import subprocess
from pathlib import Path

from figures import Figure, note
from layers import with_file
from measure import ORDINARY, User
from rivals import Rivals

ROUNDS, BATCH = 5, 6
"""In turn, each contender starts so often, after once more that does not count."""
_BWRAP = "bwrap --unshare-all, unpacked"
_KERNEL = "kernel squashfs + overlay + crun, root"
_OLD_CHAIN = "squashfuse + fuse-overlayfs + crun"
CASES = [
    ("tiny", ["true"]),
    ("debian", ["true"]),
    ("large", ["true"]),
    ("python", ["python3", "-c", "pass"]),
    ("python", ["python3", "-c", "import numpy"]),
]
"""`large` is debian and a gigabyte that does not compress."""
BARS = {
    ("true", _BWRAP): 1.5,
    ("python3 -c pass", _KERNEL): 0.7,
    ("python3 -c import numpy", _KERNEL): 0.7,
    ("python3 -c pass", _OLD_CHAIN): 1 / 15,
    ("python3 -c import numpy", _OLD_CHAIN): 1 / 15,
}
"""Our time as a multiple of the contender's, at most."""


def bench_startup(images: dict[str, Path], work: Path, dockerc: str) -> None:
    """Print milliseconds of warm starts, a fresh mount each."""
    root, uid = User(None), pwd.getpwnam(str(ORDINARY.name)).pw_uid
    print(f"\nstart-up in ms, by an ordinary user unless said, warm, {ROUNDS} rounds of {BATCH}")
    print(f"{'contender':68} {'median':>8} {'min':>8} {'max':>8} {'ours is':>8} {'bar':>8}")
    images = images | {
        "large": with_file(images["debian"], work / "large", "large", os.urandom(1 << 30))
    }
    rivals = {name: Rivals.prepare(images[name], work) for name in ("tiny", "debian", "python")}
    for name, args in CASES:
        app = work / f"{name}.app"
        if not app.exists():
            subprocess.run([dockerc, "build", "-q", f"oci:{images[name]}", "-o", app], check=True)
        one = with_one_id(app)
        contenders: dict[str, tuple[User, list[str | Path]]] = {
            "ours, one id as the rivals": (ORDINARY, [one, *args]),
            "ours, a range of sub-ids": (ORDINARY, [app, *args]),
        }
        if rival := rivals.get(name):
            contenders |= {
                _BWRAP: (ORDINARY, rival.bwrap(args)),
                "crun, unpacked": (ORDINARY, rival.crun(args, uid)),
                _KERNEL: (root, rival.kernel(args)),
                _OLD_CHAIN: (ORDINARY, rival.old_chain(args)),
            }
        _compare(name, " ".join(args), contenders)
        app.unlink()
        one.unlink()
    shutil.rmtree(work / "large")


def with_one_id(app: Path) -> Path:
    """The same for an image that needs no other ids, so that nobody has to map any.

    The rivals here map one id only, which takes no help from newuidmap and newgidmap.
    """
    copy = Path(shutil.copy(app, app.with_suffix(".one")))
    with copy.open("r+b") as file:
        file.seek(-8, os.SEEK_END)  # the footer's require_mapped_uids
        file.write(b"\0")
    return copy


def _compare(
    name: str, command_line: str, contenders: dict[str, tuple[User, list[str | Path]]]
) -> None:
    times: dict[str, list[float]] = {contender: [] for contender in contenders}
    os.sync()  # what was prepared is not written while somebody starts
    for _ in range(ROUNDS):
        for contender, (user, command) in contenders.items():
            user.timed(*command)
            count = 1 if contender == _OLD_CHAIN else BATCH
            times[contender] += [user.timed(*command).wall * 1000 for _ in range(count)]
    ours = statistics.median(next(iter(times.values())))
    for contender, values in times.items():
        median = statistics.median(values)
        figures = f"{median:8.1f} {min(values):8.1f} {max(values):8.1f} {ours / median:7.2f}x"
        bar = BARS.get((command_line, contender))
        bound = f"{bar:7.2f}x" if bar else ""
        if contender != next(iter(times)):
            subject = f"{name}: {command_line}"
            note(Figure(subject, next(iter(times)), contender, "ms", ours, median, bar))
        print(f"{f'{name}: {command_line}: {contender}':68} {figures} {bound}", flush=True)
