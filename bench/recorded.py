"""Starts with a profile beside those without one, and beside bubblewrap on the unpacked tree."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from pathlib import Path

from figures import Figure, note
from layers import with_file
from measure import in_turn
from rivals import Rivals
from startup import with_one_id

ROUNDS = 40
_BWRAP = "bwrap, unpacked"
CASES: dict[str, dict[str, tuple[list[str], float | None]]] = {
    "python": {
        "python3 -c pass": (["python3", "-c", "pass"], 1.5),
        "import numpy": (["python3", "-c", "import numpy"], 1.35),
    },
    "node": {"node -e 0": (["node", "-e", "0"], 1.35)},
    "services": {
        "java -version": (["java", "-version"], None),
        "perl -MPOSIX": (["perl", "-MPOSIX", "-e", "1"], None),
        "git init": (["git", "init", "-q", "/tmp/repository"], None),
        "nginx -t": (["nginx", "-t"], None),
    },
}
"""Commands of an image, and what our time may be at most of bubblewrap's."""
_WRITABLE = {"git init": ["/tmp"], "nginx -t": ["/run", "/var/log/nginx", "/var/lib/nginx"]}
"""Where a command writes."""
_UNKNOWN = {"python": ["perl", "-e", "1"], "node": ["perl", "-e", "1"], "services": ["true"]}
"""A start that no profile knows."""
UNKNOWN_BAR, SIZE_BAR = 1.03, 1.02


def bench_recorded(images: dict[str, Path], work: Path, dockerc: str) -> None:
    """Print milliseconds of warm starts, a fresh mount each, in turn."""
    print(f"\nrecorded starts in ms, an ordinary user, one id, in turn, {ROUNDS} rounds, medians")
    if archive := images.get("services.tar"):
        layout = work / "services"
        command = ["skopeo", "copy", "-q", f"docker-archive:{archive}", f"oci:{layout}:latest"]
        subprocess.run(command, check=True)
        # As on port 80, which takes rights that nobody has here.
        site = b"server { listen 8080; }\n"
        images = images | {
            "services": with_file(layout, work / "sites", "etc/nginx/sites-enabled/default", site)
        }
    for name, commands in CASES.items():
        if name in images:
            _bench_image(images[name], commands, _UNKNOWN[name], work, dockerc)


def _bench_image(
    image: Path,
    commands: dict[str, tuple[list[str], float | None]],
    unknown: list[str],
    work: Path,
    dockerc: str,
) -> None:
    name = image.name
    rival = Rivals.prepare(image, work)
    plain = work / f"{name}-plain.app"
    subprocess.run([dockerc, "build", "-q", f"oci:{image}", "-o", plain], check=True)
    for subject, (args, bar) in commands.items():
        profile, app = work / f"{name}.profile", work / f"{name}-profiled.app"
        record = [plain, f"--dockerc-record={profile}", "--", *args]
        subprocess.run(record, check=True, capture_output=True)
        build = [dockerc, "build", "-q", f"oci:{image}", "--profile", profile, "-o", app]
        subprocess.run(build, check=True)
        sizes = app.stat().st_size / 1e6, plain.stat().st_size / 1e6
        one, profiled = with_one_id(plain), with_one_id(app)
        taken = in_turn(
            {
                "with a profile": [profiled, "--", *args],
                "without": [one, "--", *args],
                _BWRAP: rival.bwrap(args, *_WRITABLE.get(subject, [])),
                "unknown, with a profile": [profiled, "--", *unknown],
                "unknown, without": [one, "--", *unknown],
            },
            ROUNDS,
        )
        times = {contender: statistics.median(values) for contender, values in taken.items()}
        for ours, theirs, limit in (
            ("with a profile", _BWRAP, bar),
            ("without", _BWRAP, None),
            ("unknown, with a profile", "unknown, without", UNKNOWN_BAR),
        ):
            figure = Figure(subject, ours, theirs, "ms", times[ours], times[theirs], limit)
            print(note(figure), flush=True)
        print(note(Figure(subject, "with a profile", "without", "MB", *sizes, SIZE_BAR)))
        for file in (app, one, profiled, profile):
            file.unlink()
    plain.unlink()
    shutil.rmtree(rival.bundle)
