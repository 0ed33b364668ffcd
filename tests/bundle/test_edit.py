"""What editing a configuration keeps and what it changes, without an executable."""

from __future__ import annotations

from typing import Any

import pytest

from toolkit.bundle.baked import BakedOptions
from toolkit.bundle.edit import edited_config
from toolkit.errors import DamagedError, DockercError, UsageError

FILES = {
    "/etc/passwd": b"root:x:0:0::/root:\na:x:5:6::/home/a:\n",
    "/etc/group": b"g:x:7:a\n",
}


def config(**annotations: str) -> dict[str, Any]:
    process = {
        "args": ["/e", "c"], "cwd": "/", "user": {"uid": 0, "gid": 0},
        "env": ["A=1", "HOME=/root", "B=x=y"],
    }  # fmt: skip
    named = {f"dev.dockerc.{key}": value for key, value in annotations.items()}
    return {"ociVersion": "1.0.0", "process": process, "annotations": {**named, "z": "kept"}}


def edited(options: BakedOptions, **annotations: str) -> dict[str, Any]:
    return edited_config(config(**annotations), options, FILES.get)


def test_nothing_is_changed_that_is_not_named() -> None:
    assert edited(BakedOptions()) == config()


def test_variables_take_the_place_of_those_of_their_name() -> None:
    new = edited(BakedOptions(env=("B=2", "C=3", "A=")))
    assert new["process"]["env"] == ["A=", "HOME=/root", "B=2", "C=3"]


def test_variables_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "v=w")
    monkeypatch.delenv("NONE", raising=False)
    new = edited(BakedOptions(env=("OURS", "NONE")))
    assert new["process"]["env"] == ["A=1", "HOME=/root", "B=x=y", "OURS=v=w"]
    for wrong in ("", "=v"):
        with pytest.raises(UsageError, match="NAME=VALUE"):
            edited(BakedOptions(env=(wrong,)))


@pytest.mark.parametrize(("given", "expected"), [("/w", "/w"), ("w/x", "/w/x"), ("", "/")])
def test_workdir(given: str, expected: str) -> None:
    assert edited(BakedOptions(workdir=given))["process"]["cwd"] == expected


def test_user_with_home_and_rights() -> None:
    process = edited(BakedOptions(user="a"))["process"]
    assert process["user"] == {"uid": 5, "gid": 6, "additionalGids": [7]}
    assert process["env"] == ["A=1", "HOME=/home/a", "B=x=y"]
    assert process["capabilities"] != edited(BakedOptions(user="0"))["process"]["capabilities"]


def test_commands() -> None:
    words = {"entrypoint": '["/e"]', "cmd": '["c"]'}
    for options, args in (
        (BakedOptions(cmd="d 'e f'"), ["/e", "d", "e f"]),
        (BakedOptions(entrypoint="/n"), ["/n"]),
        (BakedOptions(entrypoint="/n", cmd="x"), ["/n", "x"]),
        (BakedOptions(cmd=""), ["/e"]), (BakedOptions(entrypoint="", cmd="x"), ["x"]),
    ):  # fmt: skip
        assert edited(options, **words)["process"]["args"] == args, options
    # Payloads of dockerc 0.3 have no entrypoint: their args are one.
    assert edited(BakedOptions(cmd="d"))["process"]["args"] == ["/e", "c", "d"]
    with pytest.raises(DockercError, match="no command to run"):
        edited(BakedOptions(entrypoint=""), **words)


def test_volumes_are_added_and_labels_do_not_steer() -> None:
    options = BakedOptions(volumes=("/b:/b",), labels=("k=v=w", "dev.dockerc.x=1", "z="))
    annotations = edited(options, **{"run.volumes": '["/a:/a"]'})["annotations"]
    assert annotations == {"dev.dockerc.run.volumes": '["/a:/a","/b:/b"]', "k": "v=w", "z": ""}
    assert list(annotations) == sorted(annotations)


def test_what_is_no_configuration() -> None:
    for wrong in ({}, {"process": {}}, {"process": []}):
        with pytest.raises(DamagedError):
            edited_config(wrong, BakedOptions(), FILES.get)
