"""Headless Chromium, spoken to over its DevTools pipe: no driver, no port, no package.

    with Chromium(binary, profile) as browser:
        page = browser.open(path)
        page.show(width=360, dark=True)
        page.run("document.title")

Messages are JSON texts that end in NUL, on the descriptors 3 (to Chromium) and 4 (from it).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: The sandbox needs rights that a container's root has not. The rest keeps Chromium off the network.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--remote-debugging-pipe",
)  # fmt: skip
LIMIT_S = 120.0
HEIGHT = 900

#: Puts the pipe's ends where Chromium looks for them, then becomes Chromium.
_LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)


class Refused(Exception):
    """Chromium, or the page's own script, answered with an error."""


class Chromium:
    """One browser. Raises TimeoutError where it does not answer, Refused where it says no."""

    def __init__(self, binary: str, profile: Path) -> None:
        theirs_in, self._to = map(_high, os.pipe())
        self._from, theirs_out = map(_high, os.pipe())
        command = [binary, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._number = 0
        self._rest = b""
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        """Closing the pipe ends Chromium and its children."""
        os.close(self._to)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)

    @contextmanager
    def open(self, path: Path) -> Iterator[Page]:
        """The file in a tab of its own, loaded."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        try:
            page.load(path)
            yield page
        finally:
            self.call("Target.closeTarget", {"targetId": target})

    def call(
        self, method: str, parameters: Mapping[str, Any] | None = None, session: str | None = None
    ) -> dict[str, Any]:
        """Ask, and wait for the answer. What is heard meanwhile goes to its page."""
        number = self.send(method, parameters, session)
        deadline = time.monotonic() + LIMIT_S
        while (heard := self.hear(deadline)).get("id") != number:
            pass
        if "error" in heard:
            raise Refused(f"{method}: {heard['error']['message']}")
        result: dict[str, Any] = heard["result"]
        return result

    def send(
        self, method: str, parameters: Mapping[str, Any] | None = None, session: str | None = None
    ) -> int:
        """Ask, and give the number that the answer will have."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        text = json.dumps(message if session is None else {**message, "sessionId": session})
        data = text.encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        return self._number

    def hear(self, deadline: float) -> dict[str, Any]:
        """The next message, an answer or an event; an event goes to its page."""
        while b"\0" not in self._rest:
            wait = max(0.0, deadline - time.monotonic())
            if not select.select([self._from], [], [], wait)[0]:
                raise TimeoutError("Chromium does not answer")
            data = os.read(self._from, 1 << 20)
            if not data:
                raise Refused("Chromium has ended")
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        heard: dict[str, Any] = json.loads(text)
        page = self._pages.get(heard.get("sessionId", ""))
        if "method" in heard and page is not None:
            page.hear(heard["method"], heard["params"])
        return heard


class Page:
    """One tab. `said` is what the console printed: errors, blocked scripts, exceptions; `asked`
    every address that was requested; `ran` what a script of the page did that a person would see."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session = browser, session
        self._loaded = False
        self.said: list[str] = []
        self.asked: list[str] = []
        self.ran: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, parameters, self._session)

    def load(self, path: Path) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.show()
        self._loaded = False
        answer = self.call("Page.navigate", url=path.resolve().as_uri())
        if "errorText" in answer:
            raise Refused(f"{path}: {answer['errorText']}")
        deadline = time.monotonic() + LIMIT_S
        while not self._loaded:
            self._browser.hear(deadline)

    def show(
        self, width: int = 1440, *, dark: bool = False, media: str = "", scale: float = 1
    ) -> None:
        """Lay the page out again: `width` in CSS pixels, `media` such as `print`."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=HEIGHT, deviceScaleFactor=scale, mobile=False,
        )  # fmt: skip
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[theme])
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def run(self, script: str) -> Any:
        """The value of a script, as JSON has it; awaited where it is a promise.

        Scripts of ours are not the page's: its Content-Security-Policy does not hold for them.
        """
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            found = answer["exceptionDetails"]
            raise Refused(found.get("exception", {}).get("description", found["text"]))
        return answer["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key goes down and up. `code` as in KeyboardEvent.keyCode."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        down = "keyDown" if text else "rawKeyDown"
        self.call("Input.dispatchKeyEvent", type=down, **named, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def picture(self, path: Path, clip: Mapping[str, float] | None = None) -> None:
        """A PNG of what is seen, or of a part: x, y, width, height in CSS pixels of the page."""
        part = {} if clip is None else {"clip": {**clip, "scale": 1}, "captureBeyondViewport": True}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **part)["data"]))

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"])

    def hear(self, event: str, told: Mapping[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Log.entryAdded":
            self.said.append(f"{told['entry']['level']}: {told['entry']['text']}")
        elif event == "Runtime.exceptionThrown":
            self.said.append(f"exception: {told['exceptionDetails']['text']}")
        elif event == "Runtime.consoleAPICalled":
            self.said.append(f"{told['type']}: {[one.get('value') for one in told['args']]}")
        elif event == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif event == "Page.javascriptDialogOpening":
            self.ran.append(f"{told['type']}: {told['message']}")
            self._browser.send("Page.handleJavaScriptDialog", {"accept": True}, self._session)
        elif event in ("Page.windowOpen", "Page.frameAttached", "Page.downloadWillBegin"):
            self.ran.append(event)


def _high(descriptor: int) -> int:
    """The same pipe's end above the numbers that Chromium reads from."""
    found = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return found
