"""Baked options laid over a config.json that is there already, without the image."""

from __future__ import annotations

import json
from typing import Any

from toolkit.bundle.annotations import ARGS, default_args_rule
from toolkit.bundle.baked import BakedOptions
from toolkit.bundle.defaults import capabilities
from toolkit.bundle.users import ReadFile, find_user
from toolkit.errors import DamagedError, DockercError
from toolkit.files.json_document import Document, parse_json

_ENTRYPOINT, _CMD = "dev.dockerc.entrypoint", "dev.dockerc.cmd"
_VOLUMES, _OPTIONS = "dev.dockerc.run.volumes", "dev.dockerc.run.options"


def edited_config(
    config: dict[str, Any], baked: BakedOptions, read_file: ReadFile
) -> dict[str, Any]:
    """The configuration with `baked` over it; what `baked` does not name stays as it is.

    `read_file` gives a file of the image, for who its users are. Raises DockercError when the
    configuration is malformed or there is no such user.
    """
    document = Document(config, "its config.json")
    before = document.object("process")
    if not before.members:
        raise DamagedError("its config.json is not what the OCI's runtime-spec describes")
    process = dict(before.members)
    annotations = dict(document.text_map("annotations"))
    old = {
        "Env": before.texts("env"),
        # Payloads of dockerc 0.3 append arguments, so their args are an entrypoint.
        "Entrypoint": _words(annotations, _ENTRYPOINT)
        if _ENTRYPOINT in annotations
        else before.texts("args"),
        "Cmd": _words(annotations, _CMD),
    }
    new = baked.over({"config": old})["config"]
    process["env"] = _last_of_each(new["Env"])
    if baked.workdir is not None:
        process["cwd"] = baked.workdir if baked.workdir.startswith("/") else f"/{baked.workdir}"
    if baked.user is not None:
        _change_user(process, before.object("user"), baked.user, read_file)
    if baked.entrypoint is not None or baked.cmd is not None:
        entrypoint, cmd = new["Entrypoint"], new["Cmd"] or []
        if not entrypoint and not cmd:
            raise DockercError("there would be no command to run; give --entrypoint or --cmd")
        process["args"] = [*entrypoint, *cmd]
        annotations[_ENTRYPOINT], annotations[_CMD] = _array(entrypoint), _array(cmd)
    if baked.entrypoint is not None and ARGS in annotations:
        annotations[ARGS] = default_args_rule(new["Entrypoint"])
    if baked.args is not None:
        annotations[ARGS] = baked.args
    if baked.volumes:
        annotations[_VOLUMES] = _array([*_words(annotations, _VOLUMES), *baked.volumes])
    if baked.run:
        annotations[_OPTIONS] = _array([*_words(annotations, _OPTIONS), *baked.run])
    # Ours steer the runtime; a label must not.
    labels = {k: v for k, v in new.get("Labels", {}).items() if not k.startswith("dev.dockerc.")}
    annotations |= labels
    return {**config, "process": process, "annotations": dict(sorted(annotations.items()))}


def _change_user(process: dict[str, Any], old: Document, spec: str, read_file: ReadFile) -> None:
    """Ids, capabilities, and HOME where it was the former user's."""
    former = find_user(f"{old.integer('uid') or 0}:{old.integer('gid') or 0}", read_file)
    user = find_user(spec, read_file)
    process["user"] = {
        "uid": user.uid, "gid": user.gid, "additionalGids": list(user.additional_gids)
    }  # fmt: skip
    process["capabilities"] = capabilities(user.uid)
    process["env"] = [
        f"HOME={user.home}" if entry == f"HOME={former.home}" else entry for entry in process["env"]
    ]


def _last_of_each(env: list[str]) -> list[str]:
    variables = {entry.partition("=")[0]: entry for entry in env}
    return list(variables.values())


def _words(annotations: dict[str, str], key: str) -> list[str]:
    """The words of an annotation that holds a JSON array; none when it is absent or null."""
    where = f"its config.json's annotation {key}"
    words = parse_json(annotations.get(key, "null").encode("utf-8", "surrogatepass"), where)
    return Document({key: words}, where).texts(key)


def _array(words: list[str]) -> str:
    return json.dumps(words, ensure_ascii=False, separators=(",", ":"))
