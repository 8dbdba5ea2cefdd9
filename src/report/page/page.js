// What the page does beyond showing what the server, or the program that wrote the report, has drawn:
// values under the pointer, zoom, keys; and on a live page new parts as they come. The view stands in
// the address behind #, so that a reload changes nothing.
"use strict";
(() => {
  const live = document.body.dataset.live === "1";
  const view = new URLSearchParams(location.hash.slice(1));
  const readout = document.getElementById("readout");
  const number = (v) => (Math.abs(v) >= 1e5 || (v !== 0 && Math.abs(v) < 1e-3) ? v.toExponential(3) : +v.toPrecision(5)).toString();

  // Where values are on a chart: its svg element says what its edges stand for.
  function frame(svg) {
    const d = svg.dataset, n = (k) => Number(d[k]);
    return {
      x0: n("x0"), x1: n("x1"), left: n("left"), right: n("right"), top: n("top"), bottom: n("bottom"),
      value(y) {
        const share = (n("bottom") - y) / (n("bottom") - n("top"));
        return d.log === "1" ? n("y0") * Math.pow(n("y1") / n("y0"), share) : n("y0") + share * (n("y1") - n("y0"));
      },
      step(x) { return n("x0") + (x - n("left")) / (n("right") - n("left")) * (n("x1") - n("x0")); },
    };
  }
  const pairs = (path) => (path.getAttribute("d").match(/-?[\d.]+ -?[\d.]+/g) || []).map((p) => p.split(" ").map(Number));

  function pointed(event) {
    const svg = event.target.closest && event.target.closest("svg.chart");
    if (!svg) return null;
    const box = svg.getBoundingClientRect();
    return { svg, f: frame(svg), x: (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width };
  }
  function draw(svg, name, shape, attributes) {
    let mark = svg.querySelector("." + name);
    if (!mark) {
      mark = document.createElementNS(svg.namespaceURI, shape);
      mark.setAttribute("class", name);
      svg.append(mark);
    }
    for (const key in attributes) mark.setAttribute(key, attributes[key]);
  }
  function clear(name) { document.querySelectorAll("svg .cursor, svg .drag").forEach((e) => e.classList.contains(name) && e.remove()); }

  let drag = null;
  addEventListener("pointermove", (event) => {
    const at = pointed(event);
    clear("cursor");
    if (!at || at.x < at.f.left || at.x > at.f.right) { readout.hidden = true; return; }
    const said = ["step " + Math.round(at.f.step(at.x)).toLocaleString("en")];
    for (const line of at.svg.querySelectorAll("path.line")) {
      const points = pairs(line);
      if (!points.length) continue;
      const near = points.reduce((a, b) => (Math.abs(b[0] - at.x) < Math.abs(a[0] - at.x) ? b : a));
      said.push(line.dataset.line + " " + number(at.f.value(near[1])) + (Math.abs(near[0] - at.x) > 4 ? " at " + Math.round(at.f.step(near[0])) : ""));
    }
    readout.textContent = said.join("  \u00b7  ");
    readout.hidden = false;
    draw(at.svg, "cursor", "path", { d: "M" + at.x + " " + at.f.top + "V" + at.f.bottom });
    if (drag && drag.svg === at.svg) {
      draw(at.svg, "drag", "rect", { x: Math.min(drag.x, at.x), width: Math.abs(at.x - drag.x), y: at.f.top, height: at.f.bottom - at.f.top });
    }
  });
  if (!live) return;

  // --- a live page ---------------------------------------------------------------------------------
  document.getElementById("keys").hidden = false;
  let source = null, seen = 0;
  const link = (text, lost) => {
    const e = document.getElementById("link");
    if (e) { e.textContent = text; e.className = lost ? "lost" : ""; }
  };
  const width = () => Math.round(Math.max(280, (document.querySelector("#grid .card") || document.body).clientWidth - 20));

  function show(message) {
    const drawn = JSON.parse(message.data);
    for (const part of drawn.parts) {
      let e = document.getElementById(part.id);
      if (!e) {  // a chart that has something to show for the first time
        e = document.createElement("section");
        e.id = part.id;
        e.className = "card";
        document.getElementById("grid").append(e);
      }
      const open = [...e.querySelectorAll("details")].map((d) => d.open);
      e.innerHTML = part.html;
      e.hidden = part.html === "";
      e.querySelectorAll("details").forEach((d, i) => { d.open = open[i] || false; });
    }
    if (drawn.complete) {  // a chart that is no more, of a run that began anew
      const there = new Set(drawn.ids);
      document.querySelectorAll("#grid > section").forEach((e) => there.has(e.id) || e.remove());
    }
    seen = drawn.offset;
    document.body.dataset.offset = seen;
    link("live", false);
  }
  function connect() {
    if (source) source.close();
    view.set("w", width());
    source = new EventSource("events?" + view.toString());
    source.onmessage = show;
    source.onerror = () => link(source.readyState === 2 ? "refused: reload this page" : "connection lost, trying again", true);
  }
  function change(values) {
    for (const key in values) values[key] === null ? view.delete(key) : view.set(key, values[key]);
    const kept = new URLSearchParams(view);
    kept.delete("w");
    history.replaceState(null, "", "#" + kept.toString());
    connect();
  }
  const range = () => {
    const svg = document.querySelector("svg.chart");
    return svg ? [frame(svg).x0, frame(svg).x1] : [0, 1];
  };
  const toggle_log = () => change({ log: view.get("log") === "1" ? null : 1 });
  const next_smoothing = () => change({ smooth: (Number(view.get("smooth") || 2) + 1) % 4 });
  const show_all = () => change({ from: null, to: null });
  const by = (shift, zoom) => {
    const [a, b] = range(), half = (b - a) / 2 * zoom, middle = (a + b) / 2 + (b - a) * shift;
    change({ from: middle - half, to: middle + half });
  };

  addEventListener("pointerdown", (event) => { if (event.button === 0) drag = pointed(event); });
  addEventListener("pointerup", (event) => {
    const at = pointed(event), begun = drag;
    drag = null;
    clear("drag");
    if (begun && at && at.svg === begun.svg && Math.abs(at.x - begun.x) > 6) {
      const ends = [begun.f.step(begun.x), begun.f.step(at.x)].sort((a, b) => a - b);
      change({ from: ends[0], to: ends[1] });
    }
  });
  addEventListener("dblclick", (event) => pointed(event) && show_all());
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea")) return;
    const done = { l: toggle_log, s: next_smoothing, 0: show_all, "+": () => by(0, 0.5), "=": () => by(0, 0.5), "-": () => by(0, 2),
      ArrowLeft: () => by(-0.25, 1), ArrowRight: () => by(0.25, 1) }[event.key];
    if (done) { event.preventDefault(); done(); }
  });
  addEventListener("click", async (event) => {
    if (event.target.id === "log") toggle_log();
    if (event.target.id === "smooth") next_smoothing();
    if (event.target.id === "zoom") show_all();
    if (event.target.id === "stop" && confirm("Stop the run after this step, and save it?")) {
      const answer = await fetch("stop", { method: "POST", headers: { "X-Sft": "stop" } });
      link(await answer.text(), !answer.ok);
    }
  });
  let resized = 0;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => width() !== Number(view.get("w")) && connect(), 300); });
  addEventListener("hashchange", () => location.reload());
  connect();
})();
