"""A headless Chromium, driven through chromedriver's WebDriver protocol with the standard library alone."""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
DRIVER = shutil.which("chromedriver")
MISSING = (
    "" if CHROMIUM and DRIVER else "no Chromium with chromedriver (Debian: apt-get install chromium chromium-driver)"
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # how the protocol names an element


class Browser:
    """One window; use as a context manager."""

    def __enter__(self) -> "Browser":
        self._process = subprocess.Popen(
            [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for line in self._process.stdout:
            if "successfully on port" in line:
                port = line.strip().rstrip(".").rpartition(" ")[2]
                self._url = f"http://127.0.0.1:{port}"
                break
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        wanted = {
            "goog:chromeOptions": {"args": arguments, "binary": CHROMIUM},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        self._session = ""
        self._session = self._post("/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        return self

    def __exit__(self, *_) -> None:
        request = urllib.request.Request(f"{self._url}/session/{self._session}", method="DELETE")
        urllib.request.urlopen(request, timeout=30).read()
        self._process.terminate()
        self._process.wait(10)

    def open(self, page: Path) -> None:
        self._post("/url", {"url": page.as_uri()})

    def script(self, body: str, *arguments):
        """Run JavaScript in the page; what it returns."""
        return self._post("/execute/sync", {"script": body, "args": list(arguments)})

    def click(self, xpath: str) -> None:
        self._post(f"/element/{self._find(xpath)}/click", {})

    def type(self, xpath: str, text: str) -> None:
        self._post(f"/element/{self._find(xpath)}/value", {"text": text})

    def resize(self, width: int, height: int) -> None:
        """The page's own size, which a window cannot make as narrow as a phone."""
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def prefer(self, scheme: str) -> None:
        """``light`` or ``dark``, as the system would say."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._devtools("Emulation.setEmulatedMedia", {"features": [feature]})

    def console(self) -> list[str]:
        """What the console has said since the last call."""
        return [entry["message"] for entry in self._post("/se/log", {"type": "browser"})]

    def _devtools(self, command: str, parameters: dict) -> None:
        self._post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _find(self, xpath: str) -> str:
        return self._post("/element", {"using": "xpath", "value": xpath})[ELEMENT]

    def _post(self, path: str, value: dict):
        url = self._url + (f"/session/{self._session}" if self._session else "") + path
        request = urllib.request.Request(url, json.dumps(value).encode(), {"Content-Type": "application/json"})
        try:
            return json.loads(urllib.request.urlopen(request, timeout=60).read())["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.loads(error.read())["value"]["message"]) from None
