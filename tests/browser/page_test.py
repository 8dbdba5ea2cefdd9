"""The page of `sft watch` and report.html in a real browser.

usage: page_test.py SFT CHROMIUM [--rows N] [--figures]

What is drawn is read back from the paths' coordinates and from pixels, and compared with metrics.jsonl.
"""

import argparse
import json
import math
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from chrome import Chrome, pixels  # noqa: E402

# The drawn values of a path, by the frame that its svg element states.
READ = """(() => { const svg = document.querySelector('svg[data-id="%s"]'); if (!svg) return null;
  const n = (k) => Number(svg.dataset[k]);
  const value = (y) => { const s = (n("bottom") - y) / (n("bottom") - n("top"));
    return svg.dataset.log === "1" ? n("y0") * Math.pow(n("y1") / n("y0"), s) : n("y0") + s * (n("y1") - n("y0")); };
  const step = (x) => n("x0") + (x - n("left")) / (n("right") - n("left")) * (n("x1") - n("x0"));
  const p = svg.querySelector('%s'); if (!p) return null;
  const pixel = (n("x1") - n("x0")) / (n("right") - n("left")), height = (n("y1") - n("y0")) / (n("bottom") - n("top"));
  const points = [...p.getAttribute("d").matchAll(/[ML]([\\d.-]+) ([\\d.-]+)(?:V([\\d.-]+))?/g)]
    .map((m) => [step(+m[1]), value(+m[2]), m[3] === undefined ? value(+m[2]) : value(+m[3])]);
  return { pixel, height, points }; })()"""

failures = 0
servers = []


def drawn_path(page, chart, path):
    """What READ finds once the path is there: a chart may be drawn anew between two questions."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        drawn = page.run(READ % (chart, path))
        if drawn:
            return drawn
        time.sleep(0.05)
    raise TimeoutError(f"no {path} in the chart {chart}")


def check(name, good, what=""):
    global failures
    failures += 0 if good else 1
    print(("ok    " if good else "WRONG ") + name + (f": {what}" if what != "" else ""), flush=True)


class Server:
    """`sft watch` of a folder; started again it has the same address."""

    def __init__(self, sft, folder, cache, *more):
        self.words = [sft, "watch", str(folder), *more]
        servers.append(self)
        self.environment = {**os.environ, "HOME": str(cache), "SFT_CACHE": str(cache)}
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.words, stderr=subprocess.PIPE, text=True, env=self.environment)
        line = self.process.stderr.readline()
        assert line.startswith("watch: "), line
        self.address = line.split()[1]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def resident(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0


def log_line(step, loss):
    return json.dumps({"k": "log", "t": 1000 + step * 0.1, "step": step, "loss": loss if math.isfinite(loss) else None,
                       "grad_norm": 0.5 + 0.1 * math.sin(step), "learning_rate": 1e-4, "num_tokens": 100.0 * step,
                       "mean_token_accuracy": 0.5, "epoch": step / 100, "tokens_per_s": 1000.0, "step_s": 0.1,
                       **({} if math.isfinite(loss) else {"nonfinite": ["loss"]})}, separators=(",", ":")) + "\n"


RUN = json.dumps({"k": "run", "t": 1000, "id": "r", "config": {"max_grad_norm": 1.0}}, separators=(",", ":")) + "\n"


def write_run(folder, losses):
    folder.mkdir()
    with open(folder / "metrics.jsonl", "w") as file:
        file.write(RUN)
        file.writelines(log_line(i + 1, loss) for i, loss in enumerate(losses))


def small_run(sft, chrome, work):
    source = random.Random(3)
    losses = [3 * math.exp(-i / 60) + 1 + source.uniform(-.2, .2) for i in range(150)]
    losses[70], losses[100] = math.nan, 9.0
    folder = work / "small"
    write_run(folder, losses)
    server = Server(sft, folder, work)
    page = chrome.page()
    page.open(server.address)
    page.until("document.body.dataset.offset")
    drawn = drawn_path(page, "loss", "path.band")
    wanted = [(i + 1, loss) for i, loss in enumerate(losses) if math.isfinite(loss)]
    worst = max(abs(d[1] - w[1]) for d, w in zip(drawn["points"], wanted))
    check("every point of metrics.jsonl is drawn where it belongs", len(drawn["points"]) == len(wanted)
          and worst <= 0.01 * drawn["height"] + 1e-9 and all(abs(d[0] - w[0]) < .02 for d, w in zip(drawn["points"], wanted)),
          f"{len(drawn['points'])} points, at most {worst / drawn['height']:.4f} pixels off")
    check("a value that is not finite is a mark", page.run("document.querySelector('path.bad').dataset.x") == "71")

    # The spike by its pixels: in its column something of the line's colour stands at its height.
    box = page.run("""(() => { const s = document.querySelector('svg[data-id="loss"]'); const b = s.getBoundingClientRect();
      return { x: b.left + scrollX, y: b.top + scrollY, width: b.width, height: b.height, w: s.viewBox.baseVal.width,
        f: Object.fromEntries(Object.entries(s.dataset).map(([k, v]) => [k, Number(v)])) }; })()""")
    _, _, rows = pixels(page.picture({k: box[k] for k in ("x", "y", "width", "height")}))
    f, ratio = box["f"], box["width"] / box["w"]
    x = (f["left"] + (101 - f["x0"]) / (f["x1"] - f["x0"]) * (f["right"] - f["left"])) * ratio
    y = (f["bottom"] - (9.0 - f["y0"]) / (f["y1"] - f["y0"]) * (f["bottom"] - f["top"])) * ratio
    blue = [p for dy in range(-2, 3) for dx in range(-2, 3) for p in [rows[int(y) + dy][int(x) + dx]]
            if p[2] > p[0] + 25]
    check("the spike is there in the picture's pixels", len(blue) > 0, f"{len(blue)} coloured pixels")

    # Logarithmic, by a key: the same values.
    page.key("l")
    page.until("document.querySelector('svg[data-id=\"loss\"]').dataset.log === '1'")
    logs = drawn_path(page, "loss", "path.band")
    worst = max(abs(d[1] / w[1] - 1) for d, w in zip(logs["points"], wanted))
    check("the key l draws the same values on a log scale", worst < 2e-3, f"{worst:.1e}")
    before = page.run("document.getElementById('chart-loss').innerHTML")
    page.call("Page.reload")
    page.until("document.readyState === 'complete' && document.body.dataset.offset")
    check("a reload changes nothing", page.run("document.getElementById('chart-loss').innerHTML") == before)

    steps = "[...document.querySelectorAll('.step')].map((e) => e.textContent).join()"
    for i in range(2):
        server.kill()
        with open(folder / "metrics.jsonl", "a") as file:
            file.write(log_line(151 + i, 1.0))
        page.until("document.getElementById('link').className === 'lost'", 15)
        address = server.address
        server.start()
        check("a server that is started again has the same address", server.address == address)
        page.until(f"{steps} === '{151 + i}'", 20)
    drawn = drawn_path(page, "loss", "path.band")["points"]
    check("two servers lost: no point is missing and none is there twice",
          [round(p[0]) for p in drawn] == [w[0] for w in wanted] + [151, 152])
    outside = [u for u in page.requests() if not u.startswith(server.address)]
    check("nothing is asked for elsewhere", outside == [], outside)
    wrong = [c for c in page.complaints() if "ERR_" not in json.dumps(c) and "favicon" not in json.dumps(c)]
    check("the page has no errors", wrong == [], wrong)
    check("charts have tables behind them",
          page.run("document.querySelectorAll('#grid details table').length > 3 && "
                   "[...document.querySelectorAll('svg.chart')].every((s) => s.getAttribute('aria-label').length > 10)"))
    phone = chrome.page(390, 844)
    phone.open(server.address)
    phone.until("document.body.dataset.offset")
    check("a phone needs no scrolling sideways",
          phone.run("document.documentElement.scrollWidth <= innerWidth"), phone.run("document.documentElement.scrollWidth"))
    server.kill()

    subprocess.run([sft, "report", str(folder)], check=True, stdout=subprocess.DEVNULL)
    report = chrome.page()
    report.requests()
    report.open((folder / "report.html").as_uri())
    asked = [u for u in report.requests() if not u.startswith("file:")]
    check("report.html asks for nothing", asked == [], asked)
    points = report.run(READ % ("loss", "path.band"))["points"]
    check("report.html draws the same", [round(p[0]) for p in points] == [round(p[0]) for p in drawn])


def long_run(sft, chrome, work, rows, figures):
    source = random.Random(5)
    losses = [1 + source.uniform(0, .5) for _ in range(rows)]
    spikes = sorted(source.sample(range(rows), 200))
    for i in spikes:
        losses[i] = 20.0
    folder = work / "long"
    write_run(folder, losses)
    start = time.monotonic()
    server = Server(sft, folder, work)
    page = chrome.page()
    page.open(server.address)
    page.until("document.body.dataset.offset && !document.getElementById('status').textContent.includes('still reading')", 60)
    read = time.monotonic() - start
    page.requests()
    started = time.monotonic()
    page.open(server.address)
    page.until("document.querySelector('svg[data-id=\"loss\"] path.band')")
    shown = time.monotonic() - started
    page.until("performance.getEntriesByName('first-contentful-paint').length > 0")
    paint = page.run("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    check(f"{rows} rows: the first paint is within a second", paint < 1000 or not figures,
          f"{paint:.0f} ms; charts are there after {shown * 1000:.0f} ms; reading the file took {read:.1f} s")
    lost = 0
    for share in (1, .3, .05, .004):
        begin = 1 + (1 - share) * .37 * rows
        end = begin + share * rows
        page.run(f"location.hash = 'from={begin}&to={end}'")
        page.until(f"document.readyState === 'complete' && document.body.dataset.offset && "
                   f"Math.abs(Number(document.querySelector('svg[data-id=\"loss\"]')?.dataset.x0) - {begin}) < 1", 30)
        drawn = drawn_path(page, "loss", "path.band")
        high = [p[0] for p in drawn["points"] if p[2] > 19.5]
        for i in spikes:
            if begin <= i + 1 <= end and not any(abs(x - i - 1) <= 1.01 * drawn["pixel"] for x in high):
                lost += 1
    check("no planted spike of 200 is lost at any zoom", lost == 0, lost)
    page.run("location.hash = ''")
    page.until("document.readyState === 'complete' && document.body.dataset.offset")
    time.sleep(1)
    delays = []
    for i in range(100 if figures else 20):
        time.sleep(.05 + source.random() * .3)
        seen = ("new Promise((r) => { const s = document.body.dataset.offset; const o = new MutationObserver(() => "
                "{ if (document.body.dataset.offset !== s) { o.disconnect(); requestAnimationFrame(() => "
                "setTimeout(() => r(performance.timeOrigin + performance.now()), 0)); } }); "
                "o.observe(document.body, { attributes: true }); "
                "document.title = 'waiting'; setTimeout(() => r(null), 5000); })")
        page.chrome.number += 1
        number = page.chrome.number
        os.write(page.chrome.to, json.dumps({"id": number, "method": "Runtime.evaluate", "sessionId": page.session,
                 "params": {"expression": seen, "awaitPromise": True, "returnByValue": True}}).encode() + b"\0")
        time.sleep(.05)
        with open(folder / "metrics.jsonl", "a") as file:
            file.write(log_line(rows + 1 + i, 1.0))
        wrote = time.time()
        shown_at = page.chrome.wait(lambda m: m.get("id") == number)["result"].get("value")
        delays.append(shown_at / 1000 - wrote if shown_at else 5)
    median = statistics.median(delays) * 1000
    check("a line that is appended is seen within 150 ms (median)", median < 150 or not figures,
          f"median {median:.0f} ms of {len(delays)}, at most {max(delays) * 1000:.0f} ms")
    heap = page.run("performance.memory ? performance.memory.usedJSHeapSize / 1048576 : 0")
    print(f"      memory: server {server.resident():.0f} MiB, the tab's heap {heap:.0f} MiB")
    server.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sft")
    parser.add_argument("chromium")
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--figures", action="store_true", help="times are checked too, on a machine that does nothing else")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sft_page_") as work:
        chrome = Chrome(a.chromium)
        try:
            small_run(a.sft, chrome, pathlib.Path(work))
            long_run(a.sft, chrome, pathlib.Path(work), a.rows, a.figures)
        finally:
            chrome.close()
            for server in servers:
                server.kill()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
