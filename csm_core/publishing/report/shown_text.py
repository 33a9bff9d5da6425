"""Text of a report without characters that HTML does not allow, and without those that change its direction."""

import re

_NOT_SHOWN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def displayable(text: str) -> str:
    """The text with a replacement character for each character that a page must not have."""
    return _NOT_SHOWN.sub("\ufffd", text)
