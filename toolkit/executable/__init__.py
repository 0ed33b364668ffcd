"""The executable's own parts: runtime stub, payload, footer (docs/format.md)."""
