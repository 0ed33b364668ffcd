"""Run options given at build: defaults of the executable, shown by inspect, overridden at run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from layout import directory, tar_of, write_layout
from support import FIXTURES, Runner, dockerc, failed, need, with_config

from toolkit.bundle.baked import BakedOptions
from toolkit.bundle.edit import edited_config
from toolkit.bundle.env_file import read_env_file
from toolkit.errors import DamagedError, DockercError
from toolkit.limits import MAX_CONFIG

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
    assert all(told in table for told in ("BAKED=in", "/bin/hello env\n", "/tmp", "org.example.a"))
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


ENV_FILES = {
    b"\xef\xbb\xbfA=1\nB= x \n": ("A=1", "B= x "),
    b"A=1\r\n\r\n# c\n  \tB=2=3\n\"C\"='d'": ("A=1", "B=2=3", "\"C\"='d'"),
    b"FROM_BUILDER\nUNSET\nA=": ("FROM_BUILDER=yes", "A="),
    b"A B=1\n": "line 1: the name 'A B' contains a blank",
    b"A=1\nB\t=1\n": "line 2: the name 'B\t' contains a blank",
    b"=1\n": "line 1: no name before the '='",
    b"A=\xff\n": "line 1: it is not UTF-8",
    b"A=1\nB=1\0\n": "line 2: a zero byte cannot stand in a variable",
}


@pytest.mark.parametrize("data", ENV_FILES)
def test_env_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setenv("FROM_BUILDER", "yes")
    monkeypatch.delenv("UNSET", raising=False)
    (tmp_path / "e").write_bytes(data)
    expected = ENV_FILES[data]
    if isinstance(expected, tuple):
        assert read_env_file(tmp_path / "e") == expected
        return
    with pytest.raises(DockercError) as caught:
        read_env_file(tmp_path / "e")
    assert expected in str(caught.value)


@pytest.mark.parametrize("data", ENV_FILES)
def test_docker_refuses_the_same_env_files(tmp_path: Path, data: bytes) -> None:
    """Its client does before it looks for its daemon; a zero byte is left to execve(2)."""
    need("docker")
    (tmp_path / "e").write_bytes(data)
    command = ["docker", "run", "--env-file", tmp_path / "e", "none"]
    environment = os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/none"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    is_refused = isinstance(ENV_FILES[data], str) and b"\0" not in data
    assert ("invalid env file" in done.stderr) is is_refused, done.stderr


def test_variables_of_files_go_before_those_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "e").write_text("A=file\nB=file\n")
    app = tmp_path / "app"
    words = ["-e", "A=line", "--env-file", tmp_path / "e"]
    dockerc("build", "-q", HELLO, "-o", app, *words)
    env = config_of(app)["process"]["env"]
    assert isinstance(env, list) and {"A=line", "B=file"} <= set(env) and "A=file" not in env
    dockerc("edit", app, tmp_path / "new", "--env-file", tmp_path / "e")
    assert "A=file" in dockerc("inspect", "--config", tmp_path / "new").stdout
    told = failed("build", HELLO, "-o", app, "--env-file", tmp_path / "none")
    assert "--env-file" in told and "does not exist" in told


def test_a_large_env_file(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b"A=" + b"1" * (MAX_CONFIG - 2))
    assert len(read_env_file(tmp_path / "e")[0]) == MAX_CONFIG
    (tmp_path / "e").write_bytes(b"A=" + b"1" * (MAX_CONFIG - 1))
    with pytest.raises(DockercError, match="more than"):
        read_env_file(tmp_path / "e")


def test_an_entrypoint_of_nothing_is_none(tmp_path: Path) -> None:
    """As docker: ENTRYPOINT [""] leaves the command alone."""
    config = {"Entrypoint": [""], "Cmd": ["/bin/tool", "a"]}
    layout = write_layout(tmp_path / "layout", [tar_of(directory("bin"))], config)
    dockerc("build", "-q", f"oci:{layout}", "-o", tmp_path / "app")
    told = config_of(tmp_path / "app")
    assert told["process"]["args"] == ["/bin/tool", "a"]
    assert told["annotations"]["dev.dockerc.entrypoint"] == "[]"


def test_any_option_of_a_run(run: Runner, shared: Path) -> None:
    app = shared / "app"
    baked = ["--read-only", "--tmpfs", "/scratch", "--hostname=box", "--init"]
    dockerc("build", HELLO, "-o", app, "--entrypoint", "/bin/hello", "--cmd", "env", *baked)
    assert dockerc("inspect", "-f", "{{json .Image.BakedOptions}}", app).stdout == (
        '["--read-only", "--tmpfs=/scratch", "--hostname=box", "--init"]\n'
    )
    assert "HOSTNAME=box" in run(app).stdout.splitlines()
    mounts = run(app, "cat", "/proc/mounts").stdout.splitlines()
    assert [line for line in mounts if line.split()[1] == "/scratch"]
    root = next(line for line in mounts if line.split()[1] == "/")
    assert root.split()[3].startswith("ro,")
    # The caller's go after them.
    assert "HOSTNAME=mine" in run(app, "--hostname", "mine", "--").stdout.splitlines()
    loose = run(app, "--read-only=false", "--", "cat", "/proc/mounts").stdout.splitlines()
    assert next(line for line in loose if line.split()[1] == "/").split()[3].startswith("rw,")

    dockerc("edit", app, shared / "new", "--hostname", "other")
    assert "HOSTNAME=other" in run(shared / "new").stdout.splitlines()
    assert "no such option: --detach" in failed("build", HELLO, "-o", app, "--detach", status=2)
    wrong = failed("build", HELLO, "-o", app, "--publish", "8080:http", status=2)
    assert "--publish 8080:http: a port is a number from 1 to 65535" in wrong


def test_a_payload_whose_baked_options_are_wrong(run: Runner, shared: Path, hello: Path) -> None:
    for value, sentence in (
        ("{", "not a list"),
        ('["--frob"]', "unknown option --frob"),
        (f'["--dockerc-extract={shared}/out"]', "which is no option of a run"),
    ):
        config = config_of(hello)
        config["annotations"]["dev.dockerc.run.options"] = value
        with_config(hello, config, shared / "app")
        done = run(shared / "app")
        assert done.returncode == 125 and sentence in done.stderr
    assert not (shared / "out").exists()
