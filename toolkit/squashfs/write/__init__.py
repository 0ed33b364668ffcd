"""Writing a squashfs."""
