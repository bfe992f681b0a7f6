"""Makes texts from files safe to show: in a terminal, on a page, and in widgets that guess HTML."""

from __future__ import annotations

import html
import re

# What moves a cursor, colours, reorders or hides what stands around it, and bytes of names that are
# no UTF-8. Joiners stay, without which some scripts cannot be written.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
# Where lists in the texts of errors go on.
_NEXT = "\n  "
# Of no width, and no part of a tag's name.
_BREAK = "\u2060"


def plain(text: str, *, lists: bool = False) -> str:
    r"""Return a text in which nothing is unseen: a control character as `\x1b`, say.

    Parameters
    ----------
    text : str
    lists : bool
        Whether a new line that begins with two blanks, as in the lists of errors, stays one.

    Examples
    --------
    >>> print(plain("a\x1b[2Jb\nc\u202ed"), plain("one:\n  1", lists=True))
    a\x1b[2Jb\nc\u202ed one:
      1
    """
    if lists:
        return _NEXT.join(map(plain, text.split(_NEXT)))
    return _UNSEEN.sub(_told, text)


def as_html(text: str) -> str:
    """Return a text as it is written into a page."""
    return html.escape(plain(text, lists=True))


def unguessed(text: str) -> str:
    """Return a text for widgets that would take it for HTML if it looked so, with its new lines."""
    seen = "\n".join(map(plain, text.split("\n")))
    return seen.replace("<", f"<{_BREAK}").replace("&lt;", f"&{_BREAK}lt;")


def _told(found: re.Match[str]) -> str:
    number = ord(found[0])
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return found[0].encode("unicode_escape").decode()
