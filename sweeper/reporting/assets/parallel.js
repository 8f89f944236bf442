"use strict";
// Parallel coordinates as SVG: Plotly's need WebGL and a mouse. Brushes by mouse and finger, and fields for the
// keyboard, say which configurations the lines and the table show.

const brushes = new Map(); // by dimension: {own, low, high} in its own units; of choices by their places
const OBJECTIVE = "\u0000objective";
const TOP = 34, BOTTOM = 14, HEIGHT = 320;
const SHADES = { light: ["#c3ccd4", "#5b9bc4", "#08306b"], dark: ["#46525e", "#3f86b5", "#f5d76e"] };

/** The axes that all finished configurations have, the objective last. */
function parallelAxes(sweeps) {
  const every = (name) => sweeps.every((sweep) => finished(sweep).every((i) => param(name)(sweep, i) != null));
  const found = dimensionsOf(sweeps).filter((own) => every(own.name));
  let low = Infinity, high = -Infinity;
  for (const sweep of sweeps)
    for (const i of finished(sweep)) {
      low = Math.min(low, objective(sweep, i));
      high = Math.max(high, objective(sweep, i));
    }
  return [...found, { name: OBJECTIVE, short: words(sweeps[0].objective.metric), low, high: high > low ? high : low + 1 }];
}

/** Where a configuration crosses an axis, in the axis's units; null if it does not. */
function coordinate(own, sweep, i) {
  if (own.name === OBJECTIVE) return objective(sweep, i);
  const given = param(own.name)(sweep, i);
  return given == null ? null : own.choices ? own.choices.map(String).indexOf(String(given)) : given;
}

/** Whether a configuration lies within all brushes. */
const brushed = (sweep, i) =>
  [...brushes.values()].every(({ own, low, high }) => {
    const at = coordinate(own, sweep, i);
    return at != null && at >= low && at <= high;
  });

/** From an axis's units to the part of its height, 0 at the bottom, and back. */
function scale(own) {
  if (own.choices) {
    const last = own.choices.length;
    return { to: (x) => (x + 0.5) / last, from: (part) => part * last - 0.5, ticks: own.choices.map((choice, k) => [k, String(choice)]) };
  }
  const bend = own.log ? Math.log10 : (x) => x;
  const [low, high] = [bend(own.low), bend(own.high)];
  const ticks = (own.log ? logTicks : evenTicks)(own.low, own.high).map((tick) => [tick, value(tick)]);
  return { to: (x) => (bend(x) - low) / (high - low || 1), from: (part) => (own.log ? 10 ** (low + part * (high - low)) : low + part * (high - low)), ticks };
}

function drawParallel(parent, sweeps, changed) {
  if (nothing(parent, sweeps)) return;
  const shown = parallelAxes(sweeps).map((own) => ({ own, ...scale(own) }));
  const missing = dimensionsOf(sweeps).filter((own) => !shown.some((axis) => axis.own.name === own.name));
  const lines = sweeps.flatMap((sweep, s) => sample(sweep, finished(sweep)).map((i) => ({ sweep, s, i, places: shown.map(({ own, to }) => to(coordinate(own, sweep, i))) })));
  lines.sort((a, b) => sign(a.sweep) * (objective(a.sweep, a.i) - objective(b.sweep, b.i))); // the best on top
  const said = element("p", { role: "status", class: "note" });
  const where = element("div", { class: "parallel scroll", id: "plot-parallel" });
  parent.append(element("p", { class: "note" }, `A line is a configuration; the darker or brighter, the better. Drag along an axis, or fill in the fields, to keep the lines within: the table below then shows the same ones. ${missing.length ? `Left out, as not every configuration has them: ${missing.map((own) => own.name).join(", ")}. ` : ""}${leftOut(sweeps)}`), where);
  drawn.set(where, () => paint());
  watcher.observe(where);

  let paths = [], x = [];
  function paint() {
    const width = Math.max(where.clientWidth, 80 * shown.length);
    const height = HEIGHT - TOP - BOTTOM;
    x = shown.map((_, k) => 38 + (k * (width - 84)) / Math.max(1, shown.length - 1));
    const shades = SHADES[dark() ? "dark" : "light"];
    const drawing = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `Parallel coordinates of ${shown.map(({ own }) => own.short).join(", ")}, a line for each of ${count(lines.length, "configuration")}.` });
    paths = lines.map((line, k) => {
      const path = svg("path", { d: line.places.map((part, a) => `${a ? "L" : "M"}${x[a].toFixed(1)} ${(TOP + (1 - part) * height).toFixed(1)}`).join(""), fill: "none", stroke: mixed(shades, lines.length > 1 ? k / (lines.length - 1) : 1), "stroke-width": lines.length > 200 ? 0.8 : 1.4, "stroke-opacity": lines.length > 200 ? 0.5 : 1 });
      path.append(svg("title", {}, `${sweeps.length > 1 ? `${line.sweep.name}, ` : ""}trial ${line.sweep.configurations.trial[line.i]}: ${inWords(line.sweep, line.i)}, ${fixed(objective(line.sweep, line.i))}`));
      path.addEventListener("click", () => pick(keyOf(line.s, line.sweep.configurations.trial[line.i])));
      return path;
    });
    drawing.append(...paths, ...shown.map((axis, k) => axisOf(axis, x[k], height)));
    where.replaceChildren(drawing);
    where.dataset.ready = "yes";
    mark();
  }

  function axisOf({ own, to, from, ticks }, at, height) {
    const group = svg("g", { class: "axis" });
    group.append(svg("line", { x1: at, x2: at, y1: TOP, y2: TOP + height, stroke: color("dim") }));
    group.append(svg("text", { x: at, y: 14, "text-anchor": "middle", class: "title" }, own.short));
    for (const [tick, text] of ticks) group.append(svg("text", { x: at + 7, y: TOP + (1 - to(tick)) * height + 4 }, text));
    const range = svg("rect", { class: "brush", x: at - 6, width: 12, y: 0, height: 0, "data-axis": own.name });
    const zone = svg("rect", { class: "zone", x: at - 18, width: 36, y: TOP - 8, height: height + 16 });
    zone.append(svg("title", {}, `Drag to keep a range of ${own.short}; a click clears it`));
    group.append(range, zone);
    let start = null;
    const part = (event) => Math.min(1, Math.max(0, 1 - (event.clientY - zone.getBoundingClientRect().top - 8) / height));
    zone.addEventListener("pointerdown", (event) => {
      start = part(event);
      zone.setPointerCapture(event.pointerId);
    });
    zone.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const ends = [start, part(event)].sort((a, b) => a - b);
      brushes.set(own.name, { own, low: from(ends[0]), high: from(ends[1]) });
      mark();
    });
    zone.addEventListener("pointerup", (event) => {
      if (start === null) return;
      if (Math.abs(part(event) - start) < 0.015) brushes.delete(own.name);
      start = null;
      mark();
      changed();
    });
    return group;
  }

  /** Show what the brushes keep: on the lines, the axes and in the fields. */
  function mark() {
    paths.forEach((path, k) => path.classList.toggle("out", !brushed(lines[k].sweep, lines[k].i)));
    const height = HEIGHT - TOP - BOTTOM;
    for (const { own, to } of shown) {
      const brush = brushes.get(own.name);
      const range = [...where.querySelectorAll(".brush")].find((one) => one.dataset.axis === own.name);
      const part = (end, otherwise) => (Number.isFinite(end) ? Math.min(1, Math.max(0, to(own.log ? Math.max(end, own.low) : end))) : otherwise);
      const [low, high] = brush ? [part(brush.low, 0), part(brush.high, 1)] : [0, 0];
      range?.setAttribute("y", TOP + (1 - high) * height);
      range?.setAttribute("height", brush ? Math.max(2, (high - low) * height) : 0);
      for (const [side, field] of Object.entries(inputs.get(own.name)))
        if (field !== document.activeElement) field.value = side === "choice" ? (brush && brush.low === brush.high ? String(brush.low) : "") : brush && Number.isFinite(brush[side]) ? value(brush[side]) : "";
    }
    const all = sweeps.flatMap((sweep) => finished(sweep).map((i) => brushed(sweep, i)));
    said.textContent = `${all.filter(Boolean).length.toLocaleString("en")} of ${count(all.length, "finished configuration")} within.`;
  }

  function set(own, low, high) {
    if (low === -Infinity && high === Infinity) brushes.delete(own.name);
    else brushes.set(own.name, { own, low, high });
    mark();
    changed();
  }

  const inputs = new Map();
  const fields = element("div", { class: "fields" });
  for (const [k, { own }] of shown.entries()) {
    const made = {};
    if (own.choices) {
      made.choice = element("select", { id: `brush-${k}`, "aria-label": own.short, onchange: ({ target }) => (target.value === "" ? set(own, -Infinity, Infinity) : set(own, Number(target.value), Number(target.value))) }, element("option", { value: "" }, "all"), ...own.choices.map((choice, c) => element("option", { value: c }, String(choice))));
    } else {
      const bound = (text, none) => (text === "" ? none : Number(text));
      const both = () => set(own, bound(made.low.value, -Infinity), bound(made.high.value, Infinity));
      made.low = element("input", { type: "number", step: "any", id: `brush-${k}-low`, placeholder: "from", "aria-label": `${own.short} from`, onchange: both });
      made.high = element("input", { type: "number", step: "any", id: `brush-${k}-high`, placeholder: "to", "aria-label": `${own.short} to`, onchange: both });
    }
    inputs.set(own.name, made);
    fields.append(element("fieldset", {}, element("legend", {}, own.short), ...Object.values(made)));
  }
  const clear = element("button", { type: "button", id: "clear", onclick: () => { brushes.clear(); mark(); changed(); } }, "Clear");
  const numbers = () => [["sweep", "trial", ...shown.map(({ own }) => (own.name === OBJECTIVE ? "objective" : own.name))], sweeps.flatMap((sweep) => finished(sweep).filter((i) => brushed(sweep, i)).map((i) => [sweep.name, sweep.configurations.trial[i], ...shown.map(({ own }) => (own.name === OBJECTIVE ? objective(sweep, i) : param(own.name)(sweep, i)))]))];
  parent.append(fields, element("div", { class: "tools" }, clear, csvButton("parallel", numbers), said));
  mark();
}

function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, given] of Object.entries(attributes)) made.setAttribute(key, given);
  if (text != null) made.textContent = text;
  return made;
}

/** A colour between three, `part` from 0 to 1. */
function mixed(shades, part) {
  const k = part < 0.5 ? 0 : 1;
  const channels = (shade) => [1, 3, 5].map((at) => parseInt(shade.slice(at, at + 2), 16));
  const [from, to] = [channels(shades[k]), channels(shades[k + 1])];
  return `rgb(${from.map((channel, c) => Math.round(channel + (to[c] - channel) * (part * 2 - k))).join(",")})`;
}

/** Round numbers for an axis, a few. */
function evenTicks(low, high) {
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((digit) => digit * power >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) found.push(Number(tick.toPrecision(10)));
  return found;
}

function logTicks(low, high) {
  let found = [];
  for (const digits of [[1, 2, 5], [1, 3], [1]]) {
    found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      found.push(...digits.map((digit) => Number(`${digit}e${power}`)).filter((tick) => tick >= low && tick <= high));
    if (found.length <= 8) break;
  }
  return found.length >= 2 ? found : evenTicks(low, high);
}
