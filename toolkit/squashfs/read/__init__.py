"""Reading a squashfs that somebody else made: nothing in it is believed."""
