"""A machine of its own for an executable: what QEMU boots where there is no Linux."""
