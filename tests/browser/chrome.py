"""A headless Chromium, driven through its own pipe: pages, scripts in them, and pictures. Python's standard
library is all it needs. Nothing but 127.0.0.1 can be reached from the pages."""

import base64
import json
import os
import select
import signal
import struct
import subprocess
import tempfile
import time
import zlib

QUIET = ["--headless", "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-gpu", "--mute-audio",
         "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--remote-debugging-pipe"]


class Chrome:
    def __init__(self, program):
        self.profile = tempfile.TemporaryDirectory(prefix="sft_chrome_", ignore_cleanup_errors=True)
        to_read, self.to = os.pipe()
        self.of, from_write = os.pipe()

        def with_pipes():  # Chromium reads commands from 3 and writes answers to 4
            a, b = os.dup(to_read), os.dup(from_write)
            os.dup2(a, 3), os.dup2(b, 4)

        flags = QUIET + [f"--user-data-dir={self.profile.name}"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
        self.process = subprocess.Popen([program, *flags, "about:blank"], preexec_fn=with_pipes, close_fds=False, start_new_session=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read), os.close(from_write)
        self.rest, self.number, self.events = b"", 0, []

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)  # and the processes that it has started
        self.process.wait()
        self.profile.cleanup()

    def call(self, method, params=None, session=None, timeout=60):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        return self.wait(lambda m: m.get("id") == self.number, timeout)

    def wait(self, wanted, timeout=60):
        end = time.monotonic() + timeout
        while True:
            while b"\0" in self.rest:
                text, self.rest = self.rest.split(b"\0", 1)
                message = json.loads(text)
                if wanted(message):
                    if "error" in message:
                        raise RuntimeError(message["error"])
                    return message.get("result", message)
                if "method" in message:
                    self.events.append(message)
            if not select.select([self.of], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            got = os.read(self.of, 1 << 20)
            if not got:
                raise RuntimeError(f"Chromium has ended: {self.process.wait()}")
            self.rest += got

    def page(self, width=1280, height=900, dark=False):
        return Page(self, width, height, dark)


class Page:
    def __init__(self, chrome, width, height, dark):
        self.chrome = chrome
        target = chrome.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self.target = target
        self.session = chrome.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(domain + ".enable")
        self.call("Emulation.setDeviceMetricsOverride",
                  {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
        self.call("Emulation.setEmulatedMedia",
                  {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})

    def call(self, method, params=None, timeout=60):
        return self.chrome.call(method, params, self.session, timeout)

    def open(self, url):
        self.call("Page.bringToFront")  # what is behind is not painted
        self.call("Page.navigate", {"url": url})
        self.until("document.readyState === 'complete'")

    def run(self, script, timeout=60):
        """The value of an expression, or of what it promises."""
        out = self.call("Runtime.evaluate",
                        {"expression": script, "awaitPromise": True, "returnByValue": True}, timeout)
        if "exceptionDetails" in out:
            raise RuntimeError(out["exceptionDetails"])
        return out["result"].get("value")

    def until(self, script, timeout=30):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.run(f"!!({script})"):
                return
            time.sleep(0.02)
        raise TimeoutError(script)

    def requests(self):
        """What was asked for since the last call."""
        found = [m["params"]["request"]["url"] for m in self.chrome.events
                 if m["method"] == "Network.requestWillBeSent" and m.get("sessionId") == self.session]
        self.chrome.events = [m for m in self.chrome.events if m["method"] != "Network.requestWillBeSent"]
        return found

    def complaints(self):
        return [m["params"] for m in self.chrome.events
                if m["method"] in ("Runtime.exceptionThrown", "Log.entryAdded") and m.get("sessionId") == self.session]

    def picture(self, clip=None):
        params = {"format": "png"}
        if clip:
            params["clip"] = {**clip, "scale": 1}
        return base64.b64decode(self.call("Page.captureScreenshot", params)["data"])

    def key(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", {"type": kind, "key": key, "text": key if kind == "keyDown" and len(key) == 1 else ""})


def pixels(png):
    """Width, height and rows of (r, g, b) of a PNG as Chromium writes it: 8 bits, no interlacing."""
    at, data, size = 8, b"", None
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at:at + 8])
        body = png[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack(">IIBB", body[:10])
            size = {2: 3, 6: 4}[color]
            assert depth == 8
        elif kind == b"IDAT":
            data += body
        at += length + 12
    raw, stride, rows, before = zlib.decompress(data), width * size, [], bytearray(width * size)
    for y in range(height):
        kind, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for i in range(stride):
            a, b, c = (line[i - size] if i >= size else 0), before[i], (before[i - size] if i >= size else 0)
            if kind == 1:
                line[i] = (line[i] + a) & 255
            elif kind == 2:
                line[i] = (line[i] + b) & 255
            elif kind == 3:
                line[i] = (line[i] + (a + b) // 2) & 255
            elif kind == 4:
                p = a + b - c
                near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
                line[i] = (line[i] + near) & 255
        rows.append([tuple(line[x * size:x * size + 3]) for x in range(width)])
        before = line
    return width, height, rows
