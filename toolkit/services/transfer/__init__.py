"""How executables travel: to a registry, from there, and to their next version."""
