"""A unit has the options as given, and systemd takes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support import dockerc, failed, need, with_config


def unit(*words: str | Path, cwd: Path | None = None) -> str:
    return str(dockerc("unit", *words, cwd=cwd).stdout)


def value(text: str, name: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(f"{name}=")]
    return found.partition("=")[2]


@pytest.fixture(scope="module")
def app(hello: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that reads its command line as docker run does."""
    file = tmp_path_factory.mktemp("unit") / "app"
    shutil.copy(hello, file)
    dockerc("edit", file, file, "--args", "docker")
    return file


def test_a_unit(app: Path, tmp_path: Path) -> None:
    options = ["--name", "web", "-v", ".:/w", "-e", "A=b $c 100%", "--read-only"]
    made = unit(app, *options, "--", "serve", 'a "quoted" word', "", "a\nb\\", cwd=tmp_path)
    assert value(made, "ExecStart") == (
        f'{app} --name web -v .:/w -e "A=b $$c 100%%" --read-only --'
        ' serve "a \\"quoted\\" word" "" "a\\nb\\\\"'
    )
    assert value(made, "WorkingDirectory") == str(tmp_path)
    assert value(made, "Type") == "exec"
    assert value(made, "NotifyAccess") == "all"
    assert value(made, "Restart") == "on-failure"
    wanted = "multi-user.target" if os.geteuid() == 0 else "default.target"
    assert value(made, "WantedBy") == wanted


def test_limits_are_systemd_s(app: Path) -> None:
    for words in (
        ["-m", "512m", "--cpus", "1.5", "--pids-limit=10"],
        ["-m512m", "--cpus=1.5", "--pids-limit", "10"],
        ["--memory=0.5g", "--memory", "512MB", "--cpus", "1.5", "--pids-limit", "10"],
    ):
        if "0.5g" in words[0]:
            assert "not a limit" in failed("unit", app, *words, status=2)
            words = words[1:]
        made = unit(app, *words, "-i")
        assert value(made, "ExecStart") == f"{app} -i --"
        assert value(made, "MemoryMax") == str(512 << 20)
        assert value(made, "CPUQuota") == "150%"
        assert value(made, "TasksMax") == "26"
    assert value(unit(app, "--pids-limit", "-1"), "TasksMax") == "infinity"


def test_managers(app: Path) -> None:
    assert value(unit(app, "--user", "-u", "7"), "WantedBy") == "default.target"
    made = unit(app, "--system", "--user", "7")
    assert value(made, "WantedBy") == "multi-user.target"
    assert value(made, "ExecStart") == f"{app} --user 7 --"


def test_the_image_s_signal(hello: Path, tmp_path: Path) -> None:
    assert value(unit(hello), "KillSignal") == "SIGTERM"
    config = json.loads(dockerc("inspect", "--config", hello).stdout)
    for name, expected in (("SIGQUIT", "SIGQUIT"), ("QUIT", "SIGQUIT"), ("3", "3")):
        config["annotations"]["org.opencontainers.image.stopSignal"] = name
        app = with_config(hello, config, tmp_path / name)
        assert value(unit(app), "KillSignal") == expected
    del config["annotations"]["org.opencontainers.image.stopSignal"]
    assert "KillSignal" not in unit(with_config(hello, config, tmp_path / "none"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-d"], "a unit is in the background"),
        (["-id"], "a unit is in the background"),
        (["--log", "x"], "a unit is in the background"),
        (["-m", "x"], "--memory x: not a limit"),
        (["-im", "5m"], "write --memory by itself"),
        (["--cpus", "many"], "--cpus many: not a limit"),
        (["--no-such-option"], "unknown option"),
        (["serve"], "put -- before the program's arguments"),
        (["--restart", "always"], "--restart is not supported"),
    ],
)
def test_what_a_unit_cannot_have(hello: Path, words: list[str], sentence: str) -> None:
    assert sentence in failed("unit", hello, *words, status=2)


def test_no_executable(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no executable\n" * 100)
    assert "not a dockerc executable" in failed("unit", tmp_path / "text")
    assert "there is no such file" in failed("unit", "no-such-program-at-all")


def test_systemd_takes_it(hello: Path, tmp_path: Path) -> None:
    need("systemd-analyze")
    options = ["-e", "A=b $c 100% ü\t'", "-m", "1g", "--cpus", "0.5", "--pids-limit", "5"]
    for manager in ("--user", "--system"):
        file = tmp_path / "some.service"
        file.write_text(unit(hello, manager, *options, "--", "a b", 'c"d', "%h", "${HOME}"))
        done = subprocess.run(
            ["systemd-analyze", "verify", manager, file],
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        )
        told = [line for line in done.stderr.splitlines() if "some.service" in line]
        assert (done.returncode, told) == (0, [])
        file.write_text(file.read_text().replace("Type=exec", "Type=nonsense"))
        done = subprocess.run(
            ["systemd-analyze", "verify", manager, file],
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        )
        assert "some.service" in done.stderr  # it does complain


@pytest.mark.parametrize("option", ["-e e", "--name name", "--name e", "-w w", "--env env"])
def test_a_value_that_ends_its_option(app: Path, option: str) -> None:
    assert value(unit(app, *option.split()), "ExecStart") == f"{app} {option} --"


def test_nothing_of_the_image_becomes_a_line(hello: Path, tmp_path: Path) -> None:
    config = json.loads(dockerc("inspect", "--config", hello).stdout)
    for signal in ("TERM\nExecStartPre=/bin/false", "x y", "%n", "\u0663"):
        config["annotations"]["org.opencontainers.image.stopSignal"] = signal
        made = unit(with_config(hello, config, tmp_path / "app"))
        assert "KillSignal" not in made and "ExecStartPre" not in made


@pytest.mark.parametrize("name", ["a\nExecStartPre=b", "a\\", 'a"b', "a\x1b[2J", " a "])
def test_paths_that_systemd_does_not_take(hello: Path, tmp_path: Path, name: str) -> None:
    app = tmp_path / name
    app.write_bytes(hello.read_bytes())
    assert "a unit cannot have a path" in failed("unit", app, status=2)
    directory = tmp_path / "in" / name
    directory.mkdir(parents=True)
    assert "a unit cannot have a path" in failed("unit", hello, status=2, cwd=directory)


def test_letters_that_systemd_expands(app: Path, tmp_path: Path) -> None:
    copy = tmp_path / "a $b 100%"
    copy.write_bytes(app.read_bytes())
    made = unit(
        copy, "--", "\u00e9\n", "a\x1b", b"\xff".decode(errors="surrogateescape"), cwd=tmp_path
    )
    program = str(copy).replace("%", "%%")
    assert value(made, "ExecStart") == f'"{program}" -- "\u00e9\\n" "a\\x1b" "\\xff"'


def test_options_of_a_tool(hello: Path, tmp_path: Path) -> None:
    """A name alone, or nothing, before a -- would be the tool's own."""
    tool = tmp_path / "tool"
    shutil.copy(hello, tool)
    dockerc("edit", tool, tool, "--args", "program")
    assert value(unit(tool, "--", "a", "-b"), "ExecStart") == f"{tool} a -b"
    made = unit(tool, "--name", "web", "-e", "A=b 'c' $d %e", "-m", "1g", "--", "$a", "-b")
    assert value(made, "ExecStart") == f"{tool} $$a -b"
    options = "--name web -e 'A=b '\"'\"'c'\"'\"' $d %%e'".replace('"', '\\"')
    assert value(made, "Environment") == f'"DOCKERC_ARGS={options}"'


@pytest.mark.parametrize(
    "words", ["-m 0", "-m -5", "-m 5_0", "-m 1xb", "--cpus nan", "--cpus inf", "--cpus 0"]
)
def test_what_is_no_limit(hello: Path, words: str) -> None:
    assert "not a limit" in failed("unit", hello, *words.split(), status=2)
