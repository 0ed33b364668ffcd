"""The software bill of materials of an image, in the formats that others read."""
