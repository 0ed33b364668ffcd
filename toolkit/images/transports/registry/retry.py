"""How often, and after what pause, a request is made again."""

from __future__ import annotations

import email.utils
import random
import threading
import time

# What a server cannot help for the moment (RFC 9110 15.6, RFC 6585 section 4).
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
ATTEMPTS = 5
FIRST_PAUSE = 0.5  # seconds; doubled each time
LONGEST_PAUSE = 60.0  # seconds; a server that asks for more is given up


class Attempts:
    """The attempts at one thing. `stopped` ends a pause at once, and all further attempts."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        self._made = 1

    def again(self, retry_after: str | None = None, cost: int = 1) -> bool:
        """Waits for the next attempt; False when there is to be none. What took long already
        may cost more than one."""
        asked = _seconds(retry_after)
        if self._made >= ATTEMPTS or asked > LONGEST_PAUSE:
            return False
        # Clients that failed together must not come back together.
        pause = FIRST_PAUSE * 2 ** (self._made - 1) * random.uniform(0.75, 1.25)
        self._made += cost
        return not self._stopped.wait(max(pause, asked))

    def renew(self) -> None:
        """There was progress: all attempts are to be had again."""
        self._made = 1


def _seconds(retry_after: str | None) -> float:
    """`Retry-After` (RFC 9110, 10.2.3) is a number of seconds or a date; anything else is 0."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0
