"""What `docker image inspect` calls things, for templates that were written for it."""

from __future__ import annotations

from typing import Any

from toolkit.commands.template import Facts


def with_docker_names(found: dict[str, Any]) -> Facts:
    """What `inspect` found, in which docker's names are found, too."""
    image, space = found["image"], found.get("space") or {}
    layers = found.get("layers") or space.get("layers") or []
    user = image["user"]
    if isinstance(user, dict):
        user = f"{user['uid']}:{user['gid']}"
    config = {
        "User": user or "",
        "ExposedPorts": {port: {} for port in image.get("ports") or []},
        "Env": image["env"],
        "Entrypoint": image["entrypoint"],
        "Cmd": image["cmd"],
        "Volumes": {path: {} for path in image["volumes"] or []},
        "WorkingDir": image["workdir"] or "",
        "Labels": image["labels"],
        "StopSignal": image.get("stop_signal") or "",
    }
    top = {
        "Id": image["digest"],
        "RepoTags": [image["reference"]] if image["reference"] else [],
        "Created": image["created"],
        "Author": image["author"] or "",
        "Os": image["os"],
        "Architecture": image["architecture"],
        "Variant": image["variant"] or "",
        "Size": space["size"] if space else image["size"],
        "RootFS": {
            "Type": "layers",
            "Layers": [each.get("diff_id") for each in layers if isinstance(each, dict)],
        },
    }
    return Facts({**found, "config": Facts(found["config"], config)}, top)
