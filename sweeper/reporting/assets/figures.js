"use strict";
// The figures. Each is drawn once it is near the window, has a text alternative, and gives its numbers as CSV.

const MOST_POINTS = 1000; // of a panel: more are slow to draw, and hide each other
const PICKS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#7d858d"];
const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "cross", "star", "hexagon", "triangle-down"];
const DASHES = ["solid", "dash", "dot", "dashdot"];

const drawn = new Map(); // by element: what draws it
const watcher = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => drawNow(entry.target)),
  { rootMargin: "500px" },
);

const drawNow = (where) => {
  watcher.unobserve(where);
  drawn.get(where)?.();
};
const drawAll = () => [...drawn.keys()].filter((where) => where.isConnected).forEach(drawNow);

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/**
 * A figure in `parent`. `alt`: what it shows, in a sentence; `caption`: a note below it; `numbers`: {header, rows} of
 * its CSV; `traces` and `layout`: functions, as colours follow the page's.
 */
function figure(parent, { name, alt, caption, numbers, traces, layout, size = "", after }) {
  const where = element("div", { class: `plot ${size}`, role: "img", "aria-label": alt, id: `plot-${name}` });
  const save = element(
    "button",
    { type: "button", class: "row", onclick: () => download(`${name}.csv`, csv(numbers().header, numbers().rows)) },
    "Numbers (CSV)",
  );
  save.setAttribute("aria-label", `Numbers of this figure as CSV: ${alt}`);
  const made = element("figure", {}, element("div", { class: size === "wide" ? "scroll" : "" }, where));
  made.append(element("figcaption", {}, caption ? `${caption} ` : "", save));
  parent.append(made);
  drawn.set(where, () => {
    const settings = { displaylogo: false, responsive: true, displayModeBar: false };
    Plotly.react(where, traces(), { ...base(), ...layout(base()) }, settings);
    if (after && !where.dataset.ready) after(where);
    where.dataset.ready = "yes";
  });
  watcher.observe(where);
  return where;
}

/** What all layouts share. */
function base() {
  const axis = { gridcolor: color("line"), linecolor: color("line"), zeroline: false, automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: color("text") },
    margin: { l: 48, r: 12, t: 12, b: 44 },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, xanchor: "left" },
    hoverlabel: { bgcolor: color("card"), bordercolor: color("line"), font: { color: color("text") } },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    xaxis: { ...axis },
    yaxis: { ...axis },
  };
}

const axes = (common, x, y, more = {}) => ({
  ...more,
  xaxis: { ...common.xaxis, ...(typeof x === "string" ? { title: { text: plain(x) } } : x) },
  yaxis: { ...common.yaxis, ...(typeof y === "string" ? { title: { text: plain(y) } } : y) },
});

const finished = (sweep) =>
  [...sweep.configurations.trial.keys()].filter(
    (i) => sweep.configurations.status[i] === "finished" && sweep.configurations.value[i] != null,
  );
const ended = (sweep) =>
  [...sweep.configurations.trial.keys()].filter((i) => sweep.configurations.status[i] !== "finished");
const indexOf = (sweep, trial) => (trial == null ? -1 : sweep.configurations.trial.indexOf(trial));
const sign = (sweep) => (sweep.objective.direction === "maximize" ? 1 : -1);

/** What stands out in a sweep, by index: the later name wins, as in the figure for papers. */
function marks(sweep) {
  const found = new Map();
  const note = (trial, kind, label, symbol, tag = label) => {
    const index = indexOf(sweep, trial);
    if (index >= 0) found.set(index, { kind, label, symbol, tag });
  };
  if (sweep.promotion) note(sweep.promotion.trial, "promoted", "led on fresh seeds", "square", "led");
  note(sweep.first, "first", "first", "diamond");
  note(sweep.best, "best", "best", "star");
  return found;
}

/** Configurations of a panel: all, or the best third and every so many of the others. */
function sample(sweep, indices) {
  if (indices.length <= MOST_POINTS) return indices;
  const order = [...indices].sort((a, b) => sign(sweep) * (sweep.configurations.value[b] - sweep.configurations.value[a]));
  const top = Math.floor(MOST_POINTS / 3);
  const step = (order.length - top) / (MOST_POINTS - top);
  const rest = Array.from({ length: MOST_POINTS - top }, (_, k) => order[top + Math.floor(k * step)]);
  return [...new Set([...order.slice(0, top), ...rest, ...marks(sweep).keys()])];
}

const leftOut = (sweeps) => {
  const all = sweeps.map((sweep) => finished(sweep).length);
  return all.some((number) => number > MOST_POINTS)
    ? `Of ${all.reduce((a, b) => a + b, 0).toLocaleString("en")} configurations, ${MOST_POINTS.toLocaleString("en")} a sweep are drawn: the best third of those, and others at equal steps of rank. The CSV has all.`
    : "";
};

/** Groups of points that look alike: of one sweep, what stands out and the rest; of several, the sweeps. */
function groups(sweeps) {
  return sweeps.flatMap((sweep, s) => {
    const shown = sample(sweep, finished(sweep));
    const special = marks(sweep);
    if (sweeps.length > 1) {
      return [{ s, name: sweep.name, indices: shown, color: PICKS[s % 8], symbol: SYMBOLS[s % 8], size: 7 }];
    }
    const found = [{ s, name: "each", indices: shown.filter((i) => !special.has(i)), color: color("other"), symbol: "circle", size: shown.length > 200 ? 4 : 6 }];
    for (const [index, mark] of special)
      found.push({ s, name: `${mark.label} (trial ${sweep.configurations.trial[index]})`, indices: [index], color: color(mark.kind), symbol: mark.symbol, size: 12 });
    return found;
  });
}

const GLYPHS = { circle: "●", diamond: "◆", square: "■", "triangle-up": "▲", cross: "✚", star: "★", hexagon: "⬢", "triangle-down": "▼" };

/** What colours and symbols mean, for several panels. */
function key(sweeps) {
  const entries = groups(sweeps).filter((group) => group.indices.length).map((group) => {
    const mark = sweeps.length === 1 ? marks(sweeps[0]).get(group.indices[0])?.kind : undefined;
    const glyph = element("span", { "aria-hidden": "true" }, GLYPHS[group.symbol]);
    glyph.style.setProperty("--mark", sweeps.length > 1 ? group.color : `var(--${group.name === "each" ? "other" : mark})`);
    return element("li", {}, glyph, ` ${group.name}`);
  });
  return element("ul", { class: "key", "aria-label": "Colours and symbols" }, ...entries);
}

/** A trace of points with their spread over seeds; a click picks a configuration. */
function points(sweeps, group, x, y, std) {
  const sweep = sweeps[group.s];
  return {
    type: "scatter",
    mode: "markers",
    name: plain(group.name),
    x: group.indices.map((i) => x(sweep, i)),
    y: group.indices.map((i) => y(sweep, i)),
    error_y: std && { type: "data", array: group.indices.map((i) => std(sweep, i) ?? 0), thickness: group.indices.length > 200 ? 0.4 : 0.9, width: 0 },
    marker: { color: group.color, symbol: group.symbol, size: group.size, opacity: group.indices.length > 200 ? 0.5 : 1, line: { width: group.size > 8 ? 1 : 0, color: color("back") } },
    text: group.indices.map((i) => plain(`${sweeps.length > 1 ? `${sweep.name}, ` : ""}trial ${sweep.configurations.trial[i]}: ${inWords(sweep, i)}`)),
    customdata: group.indices.map((i) => keyOf(group.s, sweep.configurations.trial[i])),
    hovertemplate: "%{text}<br>%{y:.2f}<extra></extra>",
  };
}

const clickPicks = (where) =>
  where.on("plotly_click", (event) => event.points[0]?.customdata && pick(event.points[0].customdata));

/** Dimensions of all sweeps by name, in their order. */
function dimensionsOf(sweeps) {
  const found = new Map();
  for (const sweep of sweeps) for (const own of sweep.dimensions) if (!found.has(own.name)) found.set(own.name, own);
  return [...found.values()];
}

const param = (name) => (sweep, i) => {
  const given = sweep.configurations.params[name]?.[i];
  return typeof given === "boolean" ? String(given) : given;
};
const objective = (sweep, i) => sweep.configurations.value[i];
const deviation = (sweep, i) => sweep.configurations.std[i];

/** Whether there is nothing to draw yet, which is said. */
function nothing(parent, sweeps) {
  const none = !sweeps.some((sweep) => finished(sweep).length);
  if (none) parent.append(element("p", { class: "note" }, "No configuration has finished yet."));
  return none;
}

function drawDimensions(parent, sweeps) {
  if (nothing(parent, sweeps)) return;
  const grid = element("div", { class: "figures" });
  parent.append(element("p", { class: "note" }, `A point is a configuration, mean over its seeds; its line is one standard deviation. Crosses at the bottom did not finish. A click picks a configuration for the figures below; a drag zooms, a double click goes back. ${leftOut(sweeps)}`), key(sweeps), grid);
  const metric = words(sweeps[0].objective.metric);
  for (const own of dimensionsOf(sweeps)) {
    const has = (sweep, i) => param(own.name)(sweep, i) != null;
    figure(grid, {
      name: `objective-${own.short}`,
      alt: `${metric} against ${own.name}. ${trend(sweeps, own)}`,
      caption: trend(sweeps, own),
      numbers: () => ({
        header: ["sweep", "trial", own.name, "mean", "std", "status"],
        rows: sweeps.flatMap((sweep) =>
          [...sweep.configurations.trial.keys()].filter((i) => has(sweep, i)).map((i) => [sweep.name, sweep.configurations.trial[i], param(own.name)(sweep, i), sweep.configurations.value[i], sweep.configurations.std[i], sweep.configurations.status[i]]),
        ),
      }),
      traces: () => [
        ...groups(sweeps)
          .map((group) => ({ ...group, indices: group.indices.filter((i) => has(sweeps[group.s], i)) }))
          .filter((group) => group.indices.length)
          .map((group) => points(sweeps, group, param(own.name), objective, deviation)),
        ...crosses(sweeps, own.name),
      ],
      layout: (common) =>
        axes(
          common,
          own.choices
            ? { title: { text: plain(own.name) }, type: "category", categoryorder: "array", categoryarray: own.choices.map(String) }
            : { title: { text: plain(own.name) }, type: own.log ? "log" : "linear", ...(own.log ? { tickvals: logTicks(own.low, own.high), ticktext: logTicks(own.low, own.high).map(value) } : {}) },
          metric,
          { showlegend: false },
        ),
      after: clickPicks,
    });
  }
}

/** The front of each sweep with several objectives, in a section of its own behind another one. */
function drawFront(before, sweeps) {
  document.getElementById("front")?.remove();
  const shown = [...sweeps.keys()].filter((s) => sweeps[s].front);
  if (!shown.length) return;
  const grid = element("div", { class: "figures" });
  before.after(element("section", { id: "front", "aria-labelledby": "h-front" }, element("h2", { id: "h-front" }, "Front"), element("p", { class: "note" }, "Circled: configurations that no other beats in all objectives. Lines are one standard deviation over seeds: what is closer may change places."), grid));
  for (const s of shown) {
    const sweep = sweeps[s], { trials, further } = sweep.front;
    const metric = words(sweep.objective.metric);
    for (const own of further) {
      const x = (_, i) => own.value[i];
      const front = trials.map((trial) => indexOf(sweep, trial)).sort((a, b) => own.value[a] - own.value[b]);
      const other = words(own.metric);
      figure(grid, {
        name: `front-${sweep.name}-${own.metric}`,
        alt: `${metric} (${sweep.objective.direction}) against ${other} (${own.direction}) of ${sweep.name}. Front: ${front.map((i) => `trial ${sweep.configurations.trial[i]}: ${fixed(objective(sweep, i))}, ${fixed(own.value[i])}`).join("; ")}.`,
        caption: `${sweeps.length > 1 ? `${sweep.name}: ` : ""}${metric}: ${sweep.objective.direction}; ${other}: ${own.direction}. ${leftOut([sweep])}`,
        numbers: () => ({ header: ["trial", "on_front", sweep.objective.metric, "std", own.metric, "std"], rows: finished(sweep).map((i) => [sweep.configurations.trial[i], front.includes(i), objective(sweep, i), deviation(sweep, i), own.value[i], own.std[i]]) }),
        traces: () => [
          ...groups(sweeps).filter((group) => group.s === s && group.indices.length).map((group) => ({
            ...points(sweeps, group, x, objective, deviation),
            error_x: { type: "data", array: group.indices.map((i) => own.std[i] ?? 0), thickness: group.indices.length > 200 ? 0.4 : 0.9, width: 0 },
          })),
          {
            type: "scatter", mode: further.length > 1 ? "markers" : "lines+markers", name: "front", hoverinfo: "skip",
            x: front.map((i) => own.value[i]), y: front.map((i) => objective(sweep, i)),
            line: { shape: own.direction === "minimize" ? "hv" : "vh", width: 1.2, color: color("text") },
            marker: { symbol: "circle-open", size: 15, color: color("text"), line: { width: 1.5 } },
          },
        ],
        layout: (common) => axes(common, other, metric, { showlegend: false }),
        after: clickPicks,
      });
    }
  }
}

function crosses(sweeps, name) {
  return sweeps.flatMap((sweep, s) => {
    const shown = ended(sweep).filter((i) => param(name)(sweep, i) != null).slice(0, MOST_POINTS);
    if (!shown.length) return [];
    const values = sweeps.flatMap((other) => finished(other).map((i) => other.configurations.value[i]));
    const low = values.length ? Math.min(...values.slice(0, 50000)) : 0;
    const high = values.length ? Math.max(...values.slice(0, 50000)) : 1;
    return [{
      type: "scatter", mode: "markers", name: "did not finish",
      x: shown.map((i) => param(name)(sweep, i)), y: shown.map(() => low - 0.08 * (high - low || 1)),
      marker: { symbol: "x-thin-open", size: 8, color: color("other") },
      text: shown.map((i) => plain(`trial ${sweep.configurations.trial[i]}: ${sweep.configurations.status[i]}`)),
      customdata: shown.map((i) => keyOf(s, sweep.configurations.trial[i])), hovertemplate: "%{text}<extra></extra>",
    }];
  });
}

/** Where the best tenth of the configurations lie, of at least 3 and at most 30, in a sentence. */
function trend(sweeps, own) {
  const found = sweeps.flatMap((sweep) => {
    const known = finished(sweep).filter((i) => param(own.name)(sweep, i) != null);
    if (known.length < 6) return [];
    known.sort((a, b) => sign(sweep) * (sweep.configurations.value[b] - sweep.configurations.value[a]));
    const top = known.slice(0, Math.max(3, Math.min(30, Math.ceil(known.length / 10)))).map((i) => param(own.name)(sweep, i));
    const where = own.choices ? [...new Set(top.map(String))].join(", ") : `${value(Math.min(...top))} to ${value(Math.max(...top))}`;
    return [`${sweeps.length > 1 ? `${sweep.name}: ` : ""}the best ${top.length} of ${known.length.toLocaleString("en")} have ${own.short} ${where}.`];
  });
  return found.join(" ").replace(/^t/, "T");
}

function drawImportance(parent, sweeps) {
  const shown = sweeps.filter((sweep) => sweep.importance.length);
  if (!shown.length) {
    parent.append(element("p", { class: "note" }, "Nothing is said: it takes 8 configurations that finished, and two dimensions that all of them have."));
    return;
  }
  parent.append(element("p", { class: "note" }, "The share of the objective that each dimension explains. PED-ANOVA: what sets the best tenth apart. fANOVA: what explains the variance of all. Bars are means over resamples of the configurations, lines reach from the smallest to the largest: where they are long, the configurations do not tell."));
  const grid = element("div", { class: "figures" });
  parent.append(grid);
  for (const sweep of shown) {
    const measures = [...new Set(sweep.importance.map((one) => one.measure))];
    const of = (measure) => sweep.importance.filter((one) => one.measure === measure);
    const short = (name) => sweep.dimensions.find((own) => own.name === name)?.short ?? name;
    const missing = sweep.dimensions.filter((own) => !sweep.importance.some((one) => one.dimension === own.name));
    const said = measures.map((measure) => `${measure}: ${of(measure).map((one) => `${short(one.dimension)} ${(100 * one.mean).toFixed(0)} % (${(100 * one.low).toFixed(0)} to ${(100 * one.high).toFixed(0)})`).join(", ")}`);
    figure(grid, {
      name: `importance-${sweep.name}`,
      size: "tall",
      alt: `Importance of the dimensions${shown.length > 1 ? ` of ${sweep.name}` : ""}. ${said.join(". ")}.`,
      caption: `${shown.length > 1 ? `${sweep.name}. ` : ""}${measures.map((measure) => `${measure}: ${of(measure)[0].resamples} resamples of ${of(measure)[0].configurations}`).join("; ")}.${missing.length ? ` Left out, as not every configuration has them: ${missing.map((own) => own.name).join(", ")}.` : ""}`,
      numbers: () => ({ header: ["measure", "dimension", "mean", "low", "high", "configurations", "resamples"], rows: sweep.importance.map((one) => [one.measure, one.dimension, one.mean, one.low, one.high, one.configurations, one.resamples]) }),
      traces: () =>
        measures.map((measure, k) => ({
          type: "bar", orientation: "h", name: measure,
          y: of(measure).map((one) => plain(short(one.dimension))), x: of(measure).map((one) => 100 * one.mean),
          error_x: { type: "data", symmetric: false, array: of(measure).map((one) => 100 * (one.high - one.mean)), arrayminus: of(measure).map((one) => 100 * (one.mean - one.low)), color: color("text"), thickness: 1.2, width: 4 },
          marker: { color: color(k ? "bar2" : "bar"), pattern: { shape: k ? "/" : "", bgcolor: color(k ? "bar2" : "bar"), fgcolor: color("back"), size: 8, solidity: 0.15 } },
          hovertemplate: "%{y}: %{x:.1f} %<extra></extra>",
        })),
      layout: (common) => axes(common, { title: { text: "share, %" }, range: [0, 102] }, { autorange: "reversed" }, { barmode: "group" }),
    });
  }
}

function drawProgress(parent, sweeps) {
  if (nothing(parent, sweeps)) return;
  const grid = element("div", { class: "figures" });
  parent.append(grid);
  const metric = words(sweeps[0].objective.metric);
  const path = (sweep) => {
    const own = sweep.configurations;
    let best = null, hours = 0;
    return own.order.map((i, k) => {
      hours += (own.device_s[i] ?? 0) / 3600;
      if (own.status[i] === "finished" && own.value[i] != null && (best == null || sign(sweep) * (own.value[i] - best) > 0)) best = own.value[i];
      return { i, number: k + 1, hours, best };
    });
  };
  const paths = sweeps.map(path);
  const last = sweeps.map((sweep, s) => `${sweeps.length > 1 ? `${sweep.name}: ` : ""}${fixed(paths[s].at(-1)?.best)} after ${count(paths[s].length, "configuration")} and ${fixed(paths[s].at(-1)?.hours, 3)} device hours`).join("; ");
  for (const [name, axis, at] of [["configurations", "configurations", "number"], ["hours", "device hours", "hours"]]) {
    figure(grid, {
      name: `best-by-${name}`,
      alt: `Best ${metric} so far against ${axis}. ${last}.`,
      numbers: () => ({ header: ["sweep", "trial", "configurations", "device_hours", "value", "best_so_far"], rows: sweeps.flatMap((sweep, s) => paths[s].map((one) => [sweep.name, sweep.configurations.trial[one.i], one.number, one.hours, sweep.configurations.value[one.i], one.best])) }),
      traces: () => sweeps.flatMap((sweep, s) => {
        const own = sweeps.length > 1 ? PICKS[s % 8] : color("best");
        const steps = paths[s].filter((one, k) => one.best != null && (k === paths[s].length - 1 || one.best !== paths[s][k - 1]?.best));
        const kept = new Set(sample(sweep, finished(sweep)));
        const each = paths[s].filter((one) => kept.has(one.i));
        return [
          { type: "scatter", mode: "markers", name: plain(sweeps.length > 1 ? sweep.name : "each"), showlegend: sweeps.length === 1, x: each.map((one) => one[at]), y: each.map((one) => sweep.configurations.value[one.i]), marker: { size: 5, opacity: 0.6, color: sweeps.length > 1 ? own : color("other"), symbol: SYMBOLS[s % 8] }, text: each.map((one) => plain(`trial ${sweep.configurations.trial[one.i]}: ${inWords(sweep, one.i)}`)), customdata: each.map((one) => keyOf(s, sweep.configurations.trial[one.i])), hovertemplate: "%{text}<br>%{y:.2f}<extra></extra>" },
          { type: "scatter", mode: "lines", name: plain(sweeps.length > 1 ? sweep.name : "best so far"), x: steps.map((one) => one[at]), y: steps.map((one) => one.best), line: { shape: "hv", width: 2.5, color: own, dash: DASHES[s % 4] }, hovertemplate: "best so far %{y:.2f}<extra></extra>" },
        ];
      }),
      layout: (common) => axes(common, { title: { text: axis }, rangemode: "tozero" }, metric),
      after: clickPicks,
    });
  }
}

/** Curves with a band of whiskers: {label, mean, std} with look. */
const curve = (own, k, x) => ({
  type: "scatter", mode: "lines+markers", name: plain(own.label), x: x ?? own.mean.map((_, t) => t + 1), y: own.mean,
  error_y: { type: "data", array: own.std.map((std) => std ?? 0), thickness: 1, width: 3 },
  line: { color: own.color, width: 2, dash: DASHES[k % 4] }, marker: { color: own.color, symbol: own.symbol ?? SYMBOLS[k % 8], size: 8 },
  hovertemplate: `%{y:.2f}<extra>${plain(own.label)}</extra>`,
});

function drawTasks(parent, sweeps, picked) {
  const grid = element("div", { class: "figures" });
  const known = picked.filter((one) => one.sweep.tasks[one.trial]).map((one) => ({ ...one, ...one.sweep.tasks[one.trial] }));
  const absent = picked.filter((one) => !one.sweep.tasks[one.trial]);
  if (absent.length) parent.append(element("p", { class: "note" }, `Not on this page: ${absent.map((one) => one.label).join(", ")}. Accuracy by task and class is kept of the best ${absent[0].sweep.detailed}, the first and the promoted configuration of a sweep; SQL over the results has all.`));
  parent.append(grid);
  const panel = (name, title, curves) =>
    figure(grid, {
      name, size: "tall",
      alt: `${title}. ${curves.map((own) => `${own.label}: ${own.mean.map((mean) => fixed(mean, 1)).join(", ")}`).join("; ")}.`,
      caption: `${title}. Mean and standard deviation over seeds.`,
      numbers: () => ({ header: ["configuration", "task", "mean", "std"], rows: curves.flatMap((own) => own.mean.map((mean, t) => [own.label, t + 1, mean, own.std[t]])) }),
      traces: () => curves.map((own, k) => curve({ ...own, color: own.kind ? color(own.kind) : own.color }, k)),
      layout: (common) => axes(common, { title: { text: "after task" }, dtick: Math.max(1, Math.ceil(Math.max(...curves.map((own) => own.mean.length), 1) / 10)) }, "accuracy on all classes seen, %"),
    });
  if (known.length) panel("tasks", `The search: ${known[0].sweep.objective.split} images`, known);
  for (const sweep of sweeps)
    if (sweep.promotion?.curves.length) {
      const kinds = ["promoted", "base", "other"];
      panel(`promotion-${sweep.name}`, `${sweeps.length > 1 ? `${sweep.name}: ` : ""}Fresh seeds, ${sweep.promotion.split} images`, sweep.promotion.curves.map((own, k) => ({ ...own, kind: kinds[k % 3] })));
    }
}

function drawClasses(parent, sweeps, picked) {
  const names = ["many", "medium", "few"];
  const has = names.filter((name) => picked.some((one) => one.sweep.configurations[name][one.index] != null));
  parent.append(element("p", { class: "note" }, "After the last task: classes with over 100 training images (many), 20 to 100 (medium) and under 20 (few)."));
  if (!picked.length) return;
  const grid = element("div", { class: "figures" });
  parent.append(grid);
  figure(grid, {
    name: "groups", size: "tall",
    alt: `Accuracy by class group. ${picked.map((one) => `${one.label}: ${has.map((name) => `${name} ${fixed(one.sweep.configurations[name][one.index], 1)}`).join(", ")}`).join("; ")}.`,
    numbers: () => ({ header: ["configuration", "group", "mean", "std"], rows: picked.flatMap((one) => names.map((name) => [one.label, name, one.sweep.configurations[name][one.index], one.sweep.configurations[`${name}_std`][one.index]])) }),
    traces: () => picked.map((one, k) => [one, k, one.kind ? color(one.kind) : one.color]).map(([one, k, own]) => ({
      type: "bar", name: plain(one.label), x: has, y: has.map((name) => one.sweep.configurations[name][one.index]),
      error_y: { type: "data", array: has.map((name) => one.sweep.configurations[`${name}_std`][one.index] ?? 0), color: color("text"), thickness: 1, width: 3 },
      marker: { color: own, pattern: { shape: ["", "/", ".", "-", "|", "+", "x", "\\"][k % 8], bgcolor: own, fgcolor: color("back"), size: 8, solidity: 0.15 } },
      hovertemplate: `%{x}: %{y:.1f} %<extra>${plain(one.label)}</extra>`,
    })),
    layout: (common) => axes(common, "", "accuracy, %", { barmode: "group" }),
  });
  for (const sweep of sweeps) {
    const shown = picked.filter((one) => one.sweep === sweep && sweep.classes.trials[one.trial]);
    if (!shown.length) continue;
    const order = [...sweep.classes.about.keys()].sort((a, b) => sweep.classes.about[b].images - sweep.classes.about[a].images);
    const about = (k) => sweep.classes.about[k];
    const label = (k) => plain(order.length > 30 ? `${k + 1}` : `${about(k).name} (${about(k).images})`);
    figure(parent, {
      name: `classes-${sweep.name}`, size: "wide",
      alt: `Accuracy by class${sweeps.length > 1 ? ` of ${sweep.name}` : ""}, those with most training images first, for ${shown.map((one) => one.label).join(", ")}.`,
      caption: `${sweeps.length > 1 ? `${sweep.name}. ` : ""}Classes from most training images to fewest${order.length > 30 ? "; numbers are their places in the order of learning, and names are in the hover text and the CSV" : ", whose number is in brackets"}.`,
      numbers: () => ({ header: ["configuration", "class", "images", "group", "first_task", "mean", "std"], rows: shown.flatMap((one) => order.map((k) => [one.label, about(k).name, about(k).images, about(k).shot, about(k).first_task + 1, sweep.classes.trials[one.trial].mean[k], sweep.classes.trials[one.trial].std[k]])) }),
      traces: () => shown.map((one, k) => {
        const own = sweep.classes.trials[one.trial];
        const made = curve({ label: one.label, symbol: one.symbol, color: one.kind ? color(one.kind) : one.color, mean: order.map((c) => own.mean[c]), std: order.map((c) => own.std[c]) }, k, order.map(label));
        return { ...made, line: { ...made.line, width: 1 }, text: order.map((c) => plain(`${about(c).name}: ${about(c).images} images, ${about(c).shot}, learnt in task ${about(c).first_task + 1}`)), hovertemplate: `%{text}<br>%{y:.1f} %<extra>${plain(one.label)}</extra>` };
      }),
      layout: (common) => axes(common, { type: "category" }, "accuracy, %"),
    });
  }
}

function drawForgetting(parent, sweeps) {
  if (nothing(parent, sweeps)) return;
  const forgetting = (sweep, i) => sweep.configurations.forgetting[i];
  const metric = words(sweeps[0].objective.metric);
  const known = sweeps.some((sweep) => finished(sweep).some((i) => forgetting(sweep, i) != null));
  if (!known) {
    parent.append(element("p", { class: "note" }, "No configuration has a forgetting: it takes two tasks."));
    return;
  }
  figure(parent, {
    name: "forgetting", size: "tall",
    alt: `Forgetting against ${metric}, a point a configuration.`,
    caption: `Forgetting: mean over earlier tasks of the best earlier accuracy minus the accuracy after the last task. Right and low is good. ${leftOut(sweeps)}`,
    numbers: () => ({ header: ["sweep", "trial", "objective", "forgetting"], rows: sweeps.flatMap((sweep) => finished(sweep).map((i) => [sweep.name, sweep.configurations.trial[i], objective(sweep, i), forgetting(sweep, i)])) }),
    traces: () => groups(sweeps).filter((group) => group.indices.length).map((group) => points(sweeps, group, objective, forgetting)),
    layout: (common) => axes(common, metric, "forgetting, %"),
    after: clickPicks,
  });
}
