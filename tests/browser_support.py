"""A browser that an executable runs, driven by the DevTools protocol over two pipes."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PATIENCE = 60
_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --user-data-dir=/tmp/profile"
    " --window-size=1200,900 --remote-debugging-pipe"
)


class Browser:
    """One page of it; messages end in a zero byte (--remote-debugging-pipe)."""

    def __init__(self, to_it: int, from_it: int) -> None:
        self._to, self._from, self._left, self._number = to_it, from_it, b"", 0
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank", session="")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True, session="")
        self._session = attached["sessionId"]
        for room in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{room}.enable")

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The answer; what happens meanwhile is in `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer.get("result", {})  # type: ignore[no-any-return]

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._from], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            data = os.read(self._from, 1 << 20)
            assert data, "the browser has ended"
            self._left += data
        message, _, self._left = self._left.partition(b"\0")
        return json.loads(message)  # type: ignore[no-any-return]

    def open(self, url: str) -> None:
        """Load a page and wait until its program has shown all."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && !document.getElementById('status')")

    def ask(self, expression: str) -> Any:
        """The value of a program of ours in the page, which its policy does not concern."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait for it to be true."""
        deadline = time.monotonic() + _PATIENCE
        while not self.ask(expression):
            assert time.monotonic() < deadline, self.ask("document.body.innerText")[:2000]
            time.sleep(0.05)

    def press(self, key: str, text: str = "") -> None:
        """A key, with what it types."""
        codes = {"Enter": 13, "Backspace": 8, "Tab": 9, "ArrowRight": 39, "ArrowDown": 40}
        for kind in ("keyDown", "keyUp"):
            pressed = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0)}
            if kind == "keyDown" and text:
                pressed["text"] = text
            self.call("Input.dispatchKeyEvent", type=kind, **pressed)

    def complaints(self) -> list[str]:
        """What the page's console and log have got, and exceptions."""
        told = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [json.dumps(each) for each in self.events if each.get("method") in told]


@contextmanager
def browser(command: list[str | Path], volume: Path) -> Iterator[Browser]:
    """`command` runs the executable with a Chromium; `volume` is at /page."""
    script = f"exec chromium {_OPTIONS} 3<&0 4>&1 >/tmp/log 2>&1 </dev/null"
    words = [*map(str, command), "-v", f"{volume}:/page:ro", "--", "sh", "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin and process.stdout
        try:
            yield Browser(process.stdin.fileno(), process.stdout.fileno())
        finally:
            process.terminate()
            process.wait(timeout=30)
