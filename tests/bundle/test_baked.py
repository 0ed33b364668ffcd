"""Run options given at build: defaults of the executable, shown by inspect, overridden at run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import FIXTURES, Runner, dockerc, failed

from toolkit.bundle.baked import BakedOptions
from toolkit.bundle.edit import edited_config
from toolkit.errors import DamagedError

HELLO = f"oci:{FIXTURES}/hello"


def config_of(app: Path) -> dict[str, dict[str, object]]:
    told: dict[str, dict[str, dict[str, object]]]
    told = json.loads(dockerc("inspect", "--json", app).stdout)
    return told["config"]


def test_they_are_the_executable_s_defaults(run: Runner, shared: Path) -> None:
    app = shared / "app"
    dockerc(
        "build", HELLO, "-o", app, "-e", "BAKED=in", "--env", "GREETING=hi", "-e", "FROM_BUILDER",
        "--workdir", "/tmp", "--label", "org.example.a=b", "--cmd", '["env"]',
        env={"FROM_BUILDER": "yes", "PATH": "/usr/bin"},
    )  # fmt: skip
    told = run(app).stdout.splitlines()
    assert {"BAKED=in", "GREETING=hi", "FROM_BUILDER=yes"} <= set(told)
    assert run(app, "pwd").stdout == "/tmp\n"
    assert "BAKED=out" in run(app, "-e", "BAKED=out", "--").stdout
    assert run(app, "-w", "/bin", "--", "pwd").stdout == "/bin\n"
    table = dockerc("inspect", app).stdout
    assert all(told in table for told in ("BAKED=in", '["env"]', "/tmp", "org.example.a"))
    assert config_of(app)["annotations"]["org.example.a"] == "b"


def test_an_entrypoint_clears_the_image_s_cmd(run: Runner, shared: Path) -> None:
    app = shared / "app"
    dockerc("build", HELLO, "-o", app, "--entrypoint", "/bin/hello args 'a b' c")
    assert config_of(app)["process"]["args"] == ["/bin/hello", "args", "a b", "c"]
    assert "greet" not in run(app).stdout
    assert run(app, "--entrypoint", "/bin/hello", "--", "exit", "4").returncode == 4
    dockerc("build", HELLO, "-o", app, "--cmd", "exit 9")
    assert run(app).returncode == 9
    assert run(app, "exit", "3").returncode == 3


def test_baked_volumes_are_seen_from_the_caller(run: Runner, shared: Path) -> None:
    app = shared / "app"
    (shared / "note").write_text("from here\n")
    dockerc("build", HELLO, "-o", app, "-v", ".:/here:ro", "--cmd", "cat /here/note")
    assert run(app, cwd=shared).stdout == "from here\n"
    (shared / "other").mkdir()
    (shared / "other/note").write_text("from there\n")
    assert run(app, "-v", "./other:/here", "--", cwd=shared).stdout == "from there\n"
    assert ".:/here:ro" in dockerc("inspect", app).stdout


def test_a_baked_user(shared: Path) -> None:
    dockerc("build", HELLO, "-o", shared / "app", "--user", "1234:55")
    config = config_of(shared / "app")
    assert config["process"]["user"] == {"uid": 1234, "gid": 55, "additionalGids": []}
    told = Runner(as_root=True)(
        shared / "app", "-u", "0:0", "--", "cat", "/proc/self/status"
    ).stdout
    assert "Uid:\t0\t" in told and "Gid:\t0\t" in told
    assert "nobody-here" in failed("build", HELLO, "-o", shared / "b", "--user", "nobody-here")


@pytest.mark.parametrize(
    "option",
    [["-e", "=x"], ["-v", "x"], ["-v", "a:b"], ["-v", "a:/b:zz"], ["--cmd", "[1]"],
     ["--cmd", "['a']"], ["--entrypoint", "'"], ["--label", "=x"]],
)  # fmt: skip
def test_malformed_options_are_usage_errors(option: list[str], tmp_path: Path) -> None:
    told = failed("build", HELLO, "-o", tmp_path / "app", *option, status=2)
    assert option[1] in told
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize(
    "broken",
    [
        {}, {"process": None}, {"process": []}, {"process": "x"}, {"process": {"env": "A=1"}},
        {"process": {"env": [1]}}, {"process": {"args": {"a": 1}}}, {"process": {"args": [None]}},
        {"process": {"args": ["a"], "user": []}},
        {"process": {"args": ["a"], "user": {"uid": "x"}}},
        {"process": {"args": ["a"]}, "annotations": []},
        {"process": {"args": ["a"]}, "annotations": {"dev.dockerc.entrypoint": 1}},
        {"process": {"args": ["a"]}, "annotations": {"dev.dockerc.entrypoint": "{"}},
        {"process": {"args": ["a"]}, "annotations": {"dev.dockerc.cmd": "[1]"}},
        {"process": {"args": ["a"]}, "annotations": {"dev.dockerc.run.volumes": "{}"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_configuration_of_any_shape_is_edited_or_refused(broken: dict[str, Any]) -> None:
    baked = BakedOptions(env=("A=1",), volumes=("/a:/b",), user="0")
    with pytest.raises(DamagedError, match=r"its config\.json"):
        edited_config(broken, baked, lambda name: None)


def test_what_fails_of_our_own_is_not_taken_for_a_bad_configuration() -> None:
    def fail(_: str) -> None:
        raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        edited_config({"process": {"args": ["a"]}}, BakedOptions(user="app"), fail)
