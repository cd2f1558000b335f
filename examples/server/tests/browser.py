"""A browser without a window: Chromium over the pipe of its DevTools protocol (https://chromedevtools.github.io)."""

from __future__ import annotations

import base64
import itertools
import json
import os
import pathlib
import select
import subprocess
import time

PROGRAM = "chromium-headless-shell"
PATIENCE = 20  # seconds, for whatever is waited for


class Browser:
    """What it sees goes to the folder, and with it."""

    def __init__(self, folder: pathlib.Path) -> None:
        to_browser, self.out = os.pipe()
        self.into, from_browser = os.pipe()

        def pipes() -> None:  # where the browser looks for them
            os.dup2(os.dup(to_browser), 3)
            os.dup2(os.dup(from_browser), 4)

        flags = ["--remote-debugging-pipe", f"--user-data-dir={folder}", "--disable-gpu", "--disable-dev-shm-usage"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # which root cannot have
        self.process = subprocess.Popen(
            [PROGRAM, *flags], preexec_fn=pipes, close_fds=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self.ids = itertools.count(1)
        self.unread = b""
        self.pages: dict[str, Page] = {}

    def ask(self, method: str, session: str | None = None, **parameters) -> dict:
        """Events that come meanwhile go to their pages."""
        asked = next(self.ids)
        message = {"id": asked, "method": method, "params": parameters}
        os.write(self.out, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self.next_message()
            if answer.get("id") == asked:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            if page := self.pages.get(answer.get("sessionId", "")):
                page.take(answer["method"], answer["params"])

    def next_message(self) -> dict:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self.unread:
            if not select.select([self.into], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the browser says nothing")
            read = os.read(self.into, 1 << 20)
            if not read:
                raise RuntimeError(f"the browser ended with {self.process.wait()}")
            self.unread += read
        message, _, self.unread = self.unread.partition(b"\0")
        return json.loads(message)

    def page(self, url: str, width: int = 1280, height: int = 900, **features: str) -> Page:
        """A new one, with nothing kept from others. `features` are of media: prefers_color_scheme="dark"."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.ask(f"{domain}.enable")
        page.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        page.ask("Emulation.setEmulatedMedia", features=media)
        page.go(url)
        return page

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)
        os.close(self.out)
        os.close(self.into)


class Page:
    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session
        self.requests: list[dict] = []  # url, method, headers, postData
        self.problems: list[str] = []  # errors and warnings of the console, exceptions, what a policy refused

    def ask(self, method: str, **parameters) -> dict:
        return self.browser.ask(method, self.session, **parameters)

    def take(self, method: str, event: dict) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(event["request"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(event["exceptionDetails"].get("exception", {}).get("description", str(event)))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.problems.append(str([argument.get("value") for argument in event["args"]]))
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{event['entry']['text']} ({event['entry'].get('url', '')})")

    def go(self, url: str) -> None:
        if failed := self.ask("Page.navigate", url=url).get("errorText"):
            raise RuntimeError(f"{url}: {failed}")

    def run(self, script: str):
        """The value of an expression, awaited where it is a promise."""
        got = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in got:
            raise RuntimeError(got["exceptionDetails"].get("exception", {}).get("description", str(got)))
        return got["result"].get("value")

    def wait(self, script: str) -> None:
        """For an expression to hold."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({script})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{script} is not; {self.problems}; {self.run('document.body.innerText')[:2000]}")
            time.sleep(0.01)

    def press(self, key: str, text: str = "") -> None:
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        named = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key], "text": text}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **named)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def controls(self) -> list[tuple[str, str]]:
        """Role and name of what can be operated, as a screen reader has them."""
        nodes = self.ask("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "textbox", "searchbox", "spinbutton", "checkbox", "combobox", "link"}
        found = [
            (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]
        ]
        return [(role, name) for role, name in found if role in roles]

    def picture(self, path: pathlib.Path, whole: bool = False) -> None:
        """A PNG, for people."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))
