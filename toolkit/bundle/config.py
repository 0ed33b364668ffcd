"""config.json (OCI runtime-spec) from an image's config, meaning what `umoci unpack` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from toolkit.bundle.annotations import default_args_rule, image_annotations, own_annotations
from toolkit.bundle.baked import BakedOptions
from toolkit.bundle.defaults import ENV, capabilities, linux, mounts
from toolkit.bundle.users import ReadFile, find_user
from toolkit.errors import DamagedError, RefusedError
from toolkit.files.json_document import Document
from toolkit.limits import MAX_CONFIG

NOTHING_BAKED = BakedOptions()
_OCI_VERSION = "1.0.0"  # umoci's; nothing here needs a later one


def runtime_config(
    image: Mapping[str, Any],
    *,
    reference: str,
    digest: str,
    version: str,
    rootfull: bool,
    read_file: ReadFile,
    baked: BakedOptions = NOTHING_BAKED,
) -> dict[str, Any]:
    """The configuration of a container of `image` (an OCI or docker image config).

    `reference` and `digest` are the image's, `version` is the tool's, `baked` what the user laid
    over the image. `read_file` gives a file of the merged image, symbolic links resolved inside
    it, or None when there is no such file.
    Raises DockercError when the image's config is malformed or names an unknown user.
    """
    document = Document(baked.over(image), f"the config of {reference}")
    config = document.object("config")
    user = find_user(config.text("User"), read_file)
    entrypoint = config.texts("Entrypoint")
    if entrypoint == [""]:
        entrypoint = []  # which docker takes for none
    cmd = config.texts("Cmd")
    process: dict[str, Any] = {
        "terminal": False,  # what standard input and output are is only known at run time
        "user": {
            "uid": user.uid,
            "gid": user.gid,
            "additionalGids": list(user.additional_gids),
        },
        # umoci's default: other runtimes want a word. Ours goes by the annotations, and refuses to
        # run an image without a command, as docker does.
        "args": [*entrypoint, *cmd] or ["sh"],
        "env": _environment(config.texts("Env"), user.home),
        "cwd": _absolute(config.text("WorkingDir")),
        "capabilities": capabilities(user.uid),
        # No rlimits, as docker: umoci's hard limit of 1024 files breaks servers, and the limits
        # of whoever runs the executable are the right ones.
        "noNewPrivileges": True,
    }
    _refuse_nul(process["args"], process["env"], [process["cwd"]], where=document.where)
    annotations = image_annotations(document) | own_annotations(
        entrypoint=entrypoint,
        cmd=cmd,
        # Docker's volume is a writable place with the image's content, and the root of our
        # containers is writable. umoci's empty noexec tmpfs would hide the content. What remains
        # to do is to create directories that the image lacks: the runtime's part.
        volumes=sorted(_absolute(path) for path in config.object("Volumes").members),
        baked_volumes=baked.volumes,
        reference=reference,
        digest=digest,
        version=version,
        rootfull=rootfull,
        args=baked.args or default_args_rule(entrypoint),
        run_options=baked.run,
    )
    return {
        "ociVersion": _OCI_VERSION,
        "process": process,
        "root": {"path": "rootfs"},
        # No hostname: it is the host's, as with `docker run --network host`.
        "mounts": mounts(rootfull),
        "annotations": dict(sorted(annotations.items())),
        "linux": linux(rootfull),
    }


def config_bytes(config: Mapping[str, Any]) -> bytes:
    """config.json's content: UTF-8, the same bytes for the same configuration.

    Raises DockercError when it is larger than any reader takes.
    """
    data = json.dumps(config, ensure_ascii=False, indent=1).encode() + b"\n"
    if len(data) > MAX_CONFIG:
        raise RefusedError(
            f"its config.json would have {len(data)} bytes; at most {MAX_CONFIG} are read"
        )
    return data


def requires_mapped_uids(config: Mapping[str, Any]) -> bool:
    """Whether the process of a `runtime_config` is not root, and so wants more than one id.

    The additional groups of root do not count: they give it nothing that it lacks.
    """
    user = config["process"]["user"]
    return bool(user["uid"] or user["gid"])


def _environment(image: list[str], home: str) -> list[str]:
    """Defaults, then the image's, then HOME, as docker and runc do: an image's own is kept."""
    variables: dict[str, str] = {}
    for entry in [*ENV, *image]:
        name, equals, value = entry.partition("=")
        if name and equals:  # a name without a value sets nothing
            variables[name] = value
    variables.setdefault("HOME", home or "/")
    return [f"{name}={value}" for name, value in variables.items()]


def _absolute(path: str) -> str:
    """runtime-spec, config.md: `cwd` must be absolute. Docker resolves it from `/`, too."""
    return path if path.startswith("/") else f"/{path}"


def _refuse_nul(*lists: list[str], where: str) -> None:
    if any("\0" in text for texts in lists for text in texts):
        raise DamagedError(f"{where} is malformed: a NUL in an argument, variable or directory")
