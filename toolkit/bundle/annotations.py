"""The annotations of config.json: the image's, and what dockerc wants to remember of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from toolkit.errors import DamagedError
from toolkit.files.json_document import Document

_OWN = "dev.dockerc."
_STANDARD = "org.opencontainers.image."
LAYERS = f"{_OWN}layers"
"""What each layer brought, see services/layer_history.py."""
STORED = f"{_OWN}stored"
"""Bytes of each layer's blocks in the payload: how it was packed, not what is in it."""
PROFILE = f"{_OWN}profile"
"""The digest of the profile that the payload was made with."""
ARGS = f"{_OWN}args"
ARGS_RULES = ("docker", "program")
"""How the command line is read (docs/running.md); the runtime's are in cli/options.zig."""


def default_args_rule(entrypoint: Sequence[str]) -> str:
    """An image with an entrypoint is a tool: its arguments are its own."""
    return "program" if entrypoint else "docker"


def image_annotations(image: Document) -> dict[str, str]:
    """OCI image-spec, conversion.md, "Annotation Fields". A label goes before what it repeats."""
    config = image.object("config")
    fields = {
        "os": image.text("os"),
        "architecture": image.text("architecture"),
        "variant": image.text("variant"),
        "author": image.text("author"),
        "created": image.text("created"),
        "stopSignal": config.text("StopSignal"),
        "exposedPorts": ",".join(sorted(config.object("ExposedPorts").members)),
    }
    annotations = {_STANDARD + name: value for name, value in fields.items() if value}
    # Ours steer the runtime, so an image must not bring any along.
    return annotations | {
        name: value
        for name, value in config.text_map("Labels").items()
        if not name.startswith(_OWN)
    }


def own_annotations(
    *,
    entrypoint: Sequence[str],
    cmd: Sequence[str],
    volumes: Sequence[str],
    baked_volumes: Sequence[str],
    reference: str,
    digest: str,
    version: str,
    rootfull: bool,
    args: str,
    run_options: Sequence[str] = (),
) -> dict[str, str]:
    """Lists are strings that hold a JSON array. Volumes and `rootfull` stand only where set."""
    annotations = {
        "entrypoint": _array(entrypoint),
        "cmd": _array(cmd),
        "reference": reference,
        "digest": digest,
        "version": version,
        "args": args,
    }
    if volumes:
        annotations["volumes"] = _array(volumes)
    if baked_volumes:
        annotations["run.volumes"] = _array(baked_volumes)
    if run_options:
        annotations["run.options"] = _array(run_options)
    if rootfull:
        annotations["rootfull"] = "true"
    return {_OWN + name: value for name, value in annotations.items()}


def word_list(annotations: Mapping[str, str], name: str, where: str) -> list[str]:
    """A list of words; empty where there is none. Raises DamagedError for what is no list."""
    try:
        words = json.loads(annotations.get(_OWN + name, "[]"))
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DamagedError(f"{where}: the annotation {_OWN}{name} is not a list of words")
    return words


def exposed_ports(annotations: Mapping[str, str]) -> list[str]:
    """PORT/PROTOCOL of each port that the image exposes."""
    return [each for each in annotations.get(f"{_STANDARD}exposedPorts", "").split(",") if each]


def _array(words: Sequence[str]) -> str:
    return json.dumps(list(words), ensure_ascii=False, separators=(",", ":"))
