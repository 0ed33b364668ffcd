"""What `inspect` and `history` know of an image, without building from it (docs/inspect.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.files.json_document import Document
from toolkit.images.source import Image


def image_inspection(image: Image) -> dict[str, Any]:
    """The object; raises DockercError when the image's configuration is malformed."""
    document = Document(image.config, f"the config of {image.reference}")
    config = document.object("config")
    sizes = [layer.size for layer in image.layers]
    return {
        "image": {
            "reference": image.reference,
            "digest": image.digest,
            "os": image.platform.os,
            "architecture": image.platform.architecture,
            "variant": image.platform.variant,
            "created": document.text("created") or None,
            "author": document.text("author") or None,
            "labels": config.text_map("Labels"),
            "entrypoint": config.texts("Entrypoint"),
            "cmd": config.texts("Cmd"),
            "env": config.texts("Env"),
            "workdir": config.text("WorkingDir") or None,
            "user": config.text("User") or None,
            "volumes": sorted(config.object("Volumes").members),
            "ports": sorted(config.object("ExposedPorts").members),
            "stop_signal": config.text("StopSignal") or None,
            "size": None if None in sizes else sum(filter(None, sizes)),
        },
        "layers": [
            {"diff_id": layer.diff_id, "size": layer.size, "created_by": made}
            for layer, made in zip(image.layers, _makers(image), strict=True)
        ],
        "config": dict(image.config),
    }


def image_history(image: Image) -> list[dict[str, Any]]:
    """The steps that made it, the last one first; `size` is None for a step without a layer, and
    where the transport cannot tell.

    Raises DockercError when the image's configuration is malformed.
    """
    layers = iter(image.layers)
    steps = []
    for entry in _history(image.config, image.reference):
        layer = None if entry.boolean("empty_layer") else next(layers, None)
        steps.append(
            {
                "created": entry.text("created") or None,
                "created_by": entry.text("created_by"),
                "comment": entry.text("comment"),
                "diff_id": layer.diff_id if layer else None,
                "size": layer.size if layer else None,
            }
        )
    # Layers that the history does not tell of, as where there is none.
    steps += [
        {"created": None, "created_by": "", "comment": "", "diff_id": each.diff_id,
         "size": each.size}
        for each in layers
    ]  # fmt: skip
    return steps[::-1]


def executable_history(layers: object) -> list[dict[str, Any]]:
    """The same of the layers that an executable keeps (`space.layers` of docs/inspect.md)."""
    return [
        {
            "created": None,
            "created_by": str(layer.get("created_by", "")),
            "comment": "",
            "diff_id": layer.get("diff_id"),
            "size": layer.get("size") if isinstance(layer.get("size"), int) else None,
        }
        for layer in reversed(layers if isinstance(layers, list) else [])
        if isinstance(layer, dict)
    ]


def _makers(image: Image) -> list[str]:
    """What made each layer; empty words where the history does not fit the layers."""
    made = [
        entry.text("created_by")
        for entry in _history(image.config, image.reference)
        if not entry.boolean("empty_layer")
    ]
    return made if len(made) == len(image.layers) else [""] * len(image.layers)


def _history(config: Mapping[str, Any], reference: str) -> Iterator[Document]:
    yield from Document(config, f"the config of {reference}").objects("history")
