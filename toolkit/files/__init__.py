"""Files of this machine: written whole or not at all, opened, copied and removed with care."""
