"""From an image's config to the bundle's config.json (OCI image-spec, conversion.md)."""
