"""Devices by name, from made-up specifications."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from support import Runner


def with_specs(run: Runner, specs: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run where /etc/cdi is this directory."""
    if os.geteuid() != 0:
        pytest.skip("only root can show another /etc/cdi")
    prepare = f'mount -t tmpfs x /etc/cdi 2>/dev/null; mount --bind {specs} /etc/cdi && exec "$@"'
    Path("/etc/cdi").mkdir(exist_ok=True)
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", prepare, "-", *run.command(*words)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_devices_by_name(run: Runner, deb: Path, shared: Path) -> None:
    specs = shared / "cdi"
    specs.mkdir()
    (shared / "library").write_text("of the vendor\n")
    edits = {
        "env": ["WIDGETS=2"],
        "mounts": [
            {
                "hostPath": str(shared / "library"),
                "containerPath": "/usr/lib/vendor/library",
                "options": ["ro", "nosuid", "bind"],
            }
        ],
    }
    spec = {
        "cdiVersion": "0.6.0",
        "kind": "vendor.com/widget",
        "containerEdits": edits,
        "devices": [
            {
                "name": "zero",
                "containerEdits": {
                    "deviceNodes": [{"path": "/dev/widget0", "hostPath": "/dev/zero"}]
                },
            },
            {
                "name": "hooked",
                "containerEdits": {"hooks": [{"hookName": "prestart", "path": "/bin/touch"}]},
            },
            {"name": "gone", "containerEdits": {"deviceNodes": [{"path": "/dev/no-such"}]}},
        ],
    }
    (specs / "vendor.json").write_text(json.dumps(spec))
    script = "head -c 3 /dev/widget0 | wc -c; cat /usr/lib/vendor/library; echo $WIDGETS"
    words = ["--device", "vendor.com/widget=zero", "sh", "-c", script]
    done = with_specs(run, specs, deb, *words)
    assert (done.stdout, done.stderr) == ("3\nof the vendor\n2\n", "")
    hooked = with_specs(run, specs, deb, "--device=vendor.com/widget=hooked", "true")
    assert hooked.returncode == 0
    assert hooked.stderr == "dockerc: the hooks of vendor.com/widget=hooked are not run\n"
    for name in ("vendor.com/widget=gone", "vendor.com/widget=other", "other.com/x=y"):
        done = with_specs(run, specs, deb, "--device", name, "true")
        assert done.returncode == 125
        assert name in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_specification_in_yaml(run: Runner, deb: Path, shared: Path) -> None:
    specs = shared / "cdi"
    specs.mkdir()
    # As nvidia-ctk writes them.
    (specs / "vendor.yaml").write_text("""---
cdiVersion: 0.5.0
containerEdits:
  env:
  - VISIBLE=void
  hooks: []
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/widget0
      hostPath: /dev/zero
  name: "0"
kind: vendor.com/widget
""")
    script = "test -c /dev/widget0 && echo $VISIBLE"
    done = with_specs(run, specs, deb, "--device", "vendor.com/widget=0", "sh", "-c", script)
    assert (done.stdout, done.stderr) == ("void\n", "")
    (specs / "vendor.yaml").write_text("kind: *anchor\n")
    done = with_specs(run, specs, deb, "--device", "vendor.com/widget=0", "true")
    assert done.returncode == 125
    assert done.stderr.startswith("dockerc: /etc/cdi/vendor.yaml is neither JSON nor YAML")


def test_gpus_are_devices_of_one_kind(run: Runner, deb: Path, shared: Path) -> None:
    specs = shared / "cdi"
    specs.mkdir()
    node = {"deviceNodes": [{"path": "/dev/nvidia0", "hostPath": "/dev/null"}]}
    spec = {
        "cdiVersion": "0.6.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": name, "containerEdits": node} for name in ("all", "0")],
    }
    (specs / "nvidia.json").write_text(json.dumps(spec))
    for value in ("all", "device=0"):
        words = ["--gpus", value, "test", "-c", "/dev/nvidia0"]
        done = with_specs(run, specs, deb, *words)
        assert (done.returncode, done.stderr) == (0, "")
    done = with_specs(run, specs, deb, "--gpus", "7", "true")
    assert done.returncode == 125 and "--gpus 7" in done.stderr
