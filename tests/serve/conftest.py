"""A real server on loopback around an untrained model, and a real browser to look at it."""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from yolact.predictor import Predictor, load_model

BROWSERS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
PATIENCE = 20  # seconds for whatever a test waits for


@pytest.fixture(scope="session")
def predictor(sample_checkpoint: Path) -> Predictor:
    return Predictor(load_model(sample_checkpoint))


@pytest.fixture(scope="session")
def start_server(predictor: Predictor) -> Iterator[Callable[..., str]]:
    """Start a server with these limits; returns its address."""
    # Here, because the tests of this folder skip where these packages are not installed.
    from yolact.serve.app import create_app
    from yolact.serve.guard import LOOPBACK_NAMES
    from yolact.serve.server import make_server, open_socket, url_of

    with contextlib.ExitStack() as stack:

        def start(limits: Any = None, predictor: Any = predictor) -> str:
            ready = threading.Event()
            app = create_app(predictor, Path("folder/sample.pth"), limits, LOOPBACK_NAMES)
            server = make_server(app, ready.set)
            opened = stack.enter_context(open_socket("127.0.0.1", 0))
            url = url_of(opened)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
            thread.start()
            stack.callback(thread.join, PATIENCE)
            stack.callback(setattr, server, "should_exit", True)
            assert ready.wait(PATIENCE)
            return url

        yield start


@pytest.fixture(scope="session")
def url(start_server: Callable[..., str]) -> str:
    """Address of a server with the usual limits."""
    return start_server()


class Browser:
    """Chromium without a window, told what to do over two pipes (the Chrome DevTools Protocol)."""

    def __init__(self, executable: str, folder: Path) -> None:
        self.folder = folder
        reading, told = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in os.pipe())
        heard, writing = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in os.pipe())
        arguments = [
            "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
            "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={folder / 'profile'}",
        ]  # fmt: skip

        def place() -> None:  # where Chromium looks for the pipes
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        log = (folder / "browser.log").open("wb")
        self.process = subprocess.Popen(
            [executable, *arguments], stdout=log, stderr=log, preexec_fn=place, pass_fds=(3, 4)
        )
        os.close(reading)
        os.close(writing)
        self.told, self.heard = os.fdopen(told, "wb", 0), os.fdopen(heard, "rb")
        self.numbers = itertools.count(1)
        self.answers: dict[int, queue.Queue] = {}
        self.events: list[dict] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        rest = b""
        while part := os.read(self.heard.fileno(), 1 << 20):
            *messages, rest = (rest + part).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self.answers[message["id"]].put(message)
                else:
                    self.events.append(message)

    def tell(self, method: str, session: str | None = None, **parameters: Any) -> dict:
        """Send a command and return its result."""
        number = next(self.numbers)
        self.answers[number] = queue.Queue()
        message = {"id": number, "method": method, "params": parameters}
        self.told.write(json.dumps({**message, "sessionId": session} if session else message).encode() + b"\0")
        answer = self.answers[number].get(timeout=PATIENCE)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.tell("Browser.close")
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Page:
    """A tab."""

    def __init__(self, browser: Browser, url: str, width: int, height: int) -> None:
        self.browser = browser
        self.target = browser.tell("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.tell("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.tell(f"{domain}.enable")
        self.downloads = browser.folder / "downloads"
        browser.tell("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        self.tell("Emulation.setFocusEmulationEnabled", enabled=True)  # else keys go nowhere
        self.resize(width, height)
        self.tell("Page.navigate", url=url)

    def tell(self, method: str, **parameters: Any) -> dict:
        return self.browser.tell(method, self.session, **parameters)

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        mobile = width < 600
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )

    def do(self, script: str) -> Any:
        """Return the value of an expression in the page, also of a promise."""
        answer = self.tell("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str) -> Any:
        """Wait until an expression is true, and return its value."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if value := self.do(script):
                return value
            time.sleep(0.02)
        raise AssertionError(f"still not true: {script}; the page says: {self.do('document.body.innerText')}")

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files as a user does in the dialogue."""
        root = self.tell("DOM.getDocument")["root"]["nodeId"]
        node = self.tell("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.tell("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def click(self, selector: str) -> None:
        self.mouse(*self.do(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: 'center'}});
            const area = element.getBoundingClientRect();
            return [area.left + area.width / 2, area.top + area.height / 2];
        }})()"""), click=True)  # fmt: skip

    def mouse(self, x: float, y: float, click: bool = False) -> None:
        for kind in ("mouseMoved", *(("mousePressed", "mouseReleased") if click else ())):
            self.tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowRight": 39, "ArrowLeft": 37, " ": 32, "End": 35}
        text = {"Enter": {"text": "\r"}, " ": {"text": " "}}.get(key, {})
        for kind in ("keyDown", "keyUp"):
            self.tell("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **text)

    def downloaded(self, name: str) -> Path:
        """Wait for a download and return its path."""
        path, end = self.downloads / name, time.monotonic() + PATIENCE
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.02)
        return path

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot")["data"]))

    def requests(self) -> list[str]:
        """Return the addresses of everything that the page has asked for."""
        return [event["params"]["request"]["url"] for event in self._events("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """Return the errors and warnings in the console."""
        logged = [event["params"]["entry"] for event in self._events("Log.entryAdded")]
        printed = [event["params"] for event in self._events("Runtime.consoleAPICalled")]
        thrown = [str(event["params"]["exceptionDetails"]) for event in self._events("Runtime.exceptionThrown")]
        return [str(entry) for entry in logged] + [str(entry["args"]) for entry in printed] + thrown

    def _events(self, method: str) -> list[dict]:
        return [e for e in self.browser.events if e["method"] == method and e.get("sessionId") == self.session]

    def close(self) -> None:
        self.browser.tell("Target.closeTarget", targetId=self.target)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"there is no browser ({', '.join(BROWSERS)}) on this machine")
    browser = Browser(executable, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page in a tab, which is closed after the test."""
    with contextlib.ExitStack() as stack:

        def open_one(url: str, width: int = 1280, height: int = 800) -> Page:
            page = Page(browser, url, width, height)
            stack.callback(page.close)
            page.wait("document.readyState === 'complete' && document.getElementById('limits')?.textContent")
            return page

        yield open_one
