"""An image's config from a bundle's config.json: OCI image-spec's conversion.md, backwards."""

from __future__ import annotations

import json
import re
from typing import Any

from toolkit.executable.stub import image_architecture

_OWN = "dev.dockerc."
_STANDARD = "org.opencontainers.image."
_RFC3339 = re.compile(r"\d{4}(-\d\d){2}T\d\d(:\d\d){2}(\.\d+)?(Z|[+-]\d\d:\d\d)")
_FIELDS = ("os", "architecture", "variant", "author", "created")


def image_config(config: dict[str, Any], machine: str | None, diff_id: str) -> dict[str, Any]:
    """The config of an image of one layer.

    What config.json does not tell is left out; its architecture, then, is that of the runtime,
    `machine`. A payload that keeps no entrypoint and cmd has its words as entrypoint, because it
    appends arguments.
    """
    annotations = _object(config.get("annotations"))
    image = {
        name: annotations[_STANDARD + name] for name in _FIELDS if _STANDARD + name in annotations
    }
    if not _RFC3339.fullmatch(str(image.get("created"))):
        image.pop("created", None)  # for whose sake an engine would refuse the image
    image.setdefault("os", "linux")
    if "architecture" not in image:
        image["architecture"] = image_architecture(machine)
    image["config"] = {k: v for k, v in _config(config, annotations).items() if v}
    image["rootfs"] = {"type": "layers", "diff_ids": [diff_id]}
    return image


def _config(config: dict[str, Any], annotations: dict[str, Any]) -> dict[str, Any]:
    process = _object(config.get("process"))
    user = _object(process.get("user"))
    known = f"{_OWN}entrypoint" in annotations
    ids = f"{user.get('uid', 0)}:{user.get('gid', 0)}"
    ports = str(annotations.get(f"{_STANDARD}exposedPorts", ""))
    return {
        "User": ids if ids != "0:0" else "",
        "Env": process.get("env"),
        "Entrypoint": _array(annotations.get(f"{_OWN}entrypoint"))
        if known
        else process.get("args"),
        "Cmd": _array(annotations.get(f"{_OWN}cmd")),
        "WorkingDir": process.get("cwd"),
        "Volumes": {path: {} for path in _array(annotations.get(f"{_OWN}volumes"))},
        "ExposedPorts": {port: {} for port in ports.split(",") if port},
        "StopSignal": annotations.get(f"{_STANDARD}stopSignal"),
        "Labels": {
            name: value
            for name, value in annotations.items()
            if not name.startswith(_OWN) and name not in _CONVERTED
        },
    }


_CONVERTED = {_STANDARD + name for name in (*_FIELDS, "stopSignal", "exposedPorts")}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _array(text: Any) -> list[str]:
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return []
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
