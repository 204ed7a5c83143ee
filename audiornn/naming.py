"""Names of files from any text: recordings, clips, experiments and takes are named by it."""

import re
import unicodedata


def slug(text: str, length: int = 40) -> str:
    """A plain file name from any text: ASCII letters, digits, dots and dashes, at most `length` characters."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9.]+", "-", plain).strip("-.")[:length] or "recording"
