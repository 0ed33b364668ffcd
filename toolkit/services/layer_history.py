"""What each layer brought to the image: recorded at build, when layers can still be told apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.images.source import Layer
from toolkit.squashfs.structs import InodeType
from toolkit.squashfs.tree import Inode

_MAX_CREATED_BY = 200


def layer_history(root: Inode, layers: Sequence[Layer], image: Mapping[str, Any]) -> str:
    """A JSON array of an object a layer, lowest first; `image` is the image's config, whose
    history is told.

    `files` and `bytes` count what is left of the layer in the merged tree, `size` is the layer's
    as stored in the image, None where its transport could not tell.
    """
    files, sizes = [0] * len(layers), [0] * len(layers)
    seen: set[Inode] = set()
    waiting = [root]
    while waiting:
        inode = waiting.pop()
        if inode.children is not None:
            waiting += inode.children.values()
        elif inode.kind is InodeType.FILE and inode.content.size and inode not in seen:
            seen.add(inode)  # hard links are one file
            files[inode.content.pack] += 1
            sizes[inode.content.pack] += inode.content.size
    made = created_by(image, len(layers))
    shares = [
        {
            "diff_id": layer.diff_id,
            "size": layer.size,
            "files": files[number],
            "bytes": sizes[number],
            "created_by": made[number],
        }
        for number, layer in enumerate(layers)
    ]
    return json.dumps(shares, ensure_ascii=False, separators=(",", ":"))


def created_by(image: Mapping[str, Any], count: int) -> list[str]:
    """What made each of so many layers; empty where the image's history does not fit them.

    OCI image-spec config.md: `history` has an entry for each layer, and for steps without.
    """
    history = image.get("history")
    made = [
        str(entry.get("created_by", ""))[:_MAX_CREATED_BY]
        for entry in (history if isinstance(history, list) else [])
        if isinstance(entry, dict) and not entry.get("empty_layer")
    ]
    return made if len(made) == count else [""] * count
