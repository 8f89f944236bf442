"use strict";
// The page: its data, what is picked, and newer data where it is served.

const MOST_PICKS = 8;
let sweeps = [];
let written = null;
let picks = []; // keys of configurations, in the order in which they were picked
let chosen = false; // by the reader, no longer by the page

const keyOf = (s, trial) => `${s}:${trial}`;
const dark = () => document.documentElement.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches;

/** The picked configurations: {sweep, index, trial, label, kind or color, symbol}. */
function picked() {
  return picks.flatMap((key, k) => {
    const [s, trial] = key.split(":").map(Number);
    const sweep = sweeps[s];
    const index = sweep ? indexOf(sweep, trial) : -1;
    if (index < 0) return [];
    const mark = marks(sweep).get(index);
    const label = `${sweeps.length > 1 ? `${sweep.name}, ` : ""}trial ${trial}${mark ? ` (${mark.label})` : ""}`;
    const kind = sweeps.length === 1 ? mark?.kind : undefined;
    const alone = sweeps.length > 1 && picks.findIndex((other) => other.startsWith(`${s}:`)) === k; // as the sweep's
    return [{ sweep, s, index, trial, key, label, kind, color: PICKS[(alone ? s : k + 3) % 8], symbol: SYMBOLS[k % 8] }];
  });
}

/** Pick a configuration, or no longer. */
function pick(key) {
  chosen = true;
  picks = picks.includes(key) ? picks.filter((one) => one !== key) : [...picks, key].slice(-MOST_PICKS);
  drawPicked();
  for (const box of document.querySelectorAll("input[data-key]")) box.checked = picks.includes(box.dataset.key);
}

function preselect() {
  if (chosen) return;
  picks = sweeps.flatMap((sweep, s) => [...new Set([sweep.first, sweep.best, sweep.promotion?.trial].filter((trial) => trial != null && indexOf(sweep, trial) >= 0))].map((trial) => keyOf(s, trial)));
  if (sweeps.length > 1) picks = sweeps.flatMap((sweep, s) => (sweep.best == null ? [] : [keyOf(s, sweep.promotion && indexOf(sweep, sweep.promotion.trial) >= 0 ? sweep.promotion.trial : sweep.best)]));
  picks = picks.slice(0, MOST_PICKS);
}

/** A section without what was in it, but for its heading. */
function section(name) {
  const found = document.getElementById(name);
  found.replaceChildren(found.querySelector("h2"));
  return found;
}

/** The verdict in a sentence. */
function headline(sweep) {
  const decided = sweep.promotion;
  if (decided) return `Trial ${decided.trial} was ${decided.decision}: ${decided.reason}.`;
  return `Trial ${sweep.best} leads the search${sweep.state === "running" ? " so far" : ""}; nothing has been promoted yet.`;
}

function drawVerdict(parent) {
  for (const sweep of sweeps) {
    const cards = element("div", { class: "cards" });
    if (sweeps.length > 1) parent.append(element("h3", {}, sweep.name));
    parent.append(cards);
    const own = sweep.configurations, best = indexOf(sweep, sweep.best);
    if (best < 0) {
      cards.append(element("div", { class: "card" }, element("p", {}, "No configuration has finished yet.")));
      continue;
    }
    const card = (kind, title, big, ...lines) => element("div", { class: `card ${kind}` }, element("h3", {}, title), big, ...lines.map((line) => element("p", { class: "note" }, line)));
    const number = (text, unit) => element("p", { class: "big" }, text, " ", element("small", {}, unit));
    parent.insertBefore(element("p", { class: "headline" }, headline(sweep)), cards);
    cards.append(card("best", "Best of the search", number(spread(own.value[best], own.std[best]), `n = ${own.n[best]}`), `trial ${sweep.best}: ${inWords(sweep, best)}`, `${words(sweep.objective.metric)} on ${sweep.objective.split} images, mean ± standard deviation over seeds. The best of many is partly luck: fresh seeds tell.`));
    const decided = sweep.promotion;
    if (!decided) {
      cards.append(card("", "Not promoted yet", element("p", {}, "Whether it beats the run file that it would replace is decided on fresh seeds and test images:"), element("code", {}, sweep.next)));
      continue;
    }
    const gap = decided.mean_pct - decided.incumbent_mean_pct;
    const yes = decided.decision === "promoted";
    cards.append(
      card(yes ? "yes" : "no", `${yes ? "Promoted" : "Refused"}: trial ${decided.trial}`, number(spread(decided.mean_pct, decided.std_pct), `n = ${decided.n}`), inWords(sweep, indexOf(sweep, decided.trial)), `${words(decided.metric)} on ${decided.split} images, fresh ${decided.worlds ? "worlds" : "seeds"}. Run file: ${decided.file}`),
      card("base", decided.base ? "Incumbent: the sweep's base" : "Incumbent: the run file before", number(spread(decided.incumbent_mean_pct, decided.incumbent_std_pct), `n = ${decided.n}`), `The same ${decided.worlds ? "worlds" : "seeds"} and images.`),
      card(yes ? "yes" : "no", "Difference", number(signed(gap), `[${signed(decided.interval_low_pct)}, ${signed(decided.interval_high_pct)}]`), `Mean of the differences by ${decided.worlds ? "world" : "seed"}, with its 95\u00a0% interval.`),
    );
  }
}

function drawPicker(parent) {
  if (nothing(parent, sweeps)) return;
  const list = element("ul", { class: "chips", "aria-label": "Picked configurations" });
  for (const one of picked()) {
    const button = element("button", { type: "button", "aria-label": `Remove ${one.label}`, onclick: () => pick(one.key) }, `${one.label}: ${inWords(one.sweep, one.index)} ✕`);
    button.style.setProperty("--mark", one.kind ? `var(--${one.kind})` : one.color);
    list.append(element("li", {}, button));
  }
  const options = sweeps.flatMap((sweep, s) =>
    Object.keys(sweep.tasks).map(Number).filter((trial) => !picks.includes(keyOf(s, trial)) && indexOf(sweep, trial) >= 0)
      .sort((a, b) => sign(sweep) * ((sweep.configurations.value[indexOf(sweep, b)] ?? -sign(sweep) * Infinity) - (sweep.configurations.value[indexOf(sweep, a)] ?? -sign(sweep) * Infinity)))
      .map((trial) => element("option", { value: keyOf(s, trial) }, `${sweeps.length > 1 ? `${sweep.name}, ` : ""}trial ${trial}: ${spread(sweep.configurations.value[indexOf(sweep, trial)], sweep.configurations.std[indexOf(sweep, trial)])}`)));
  const add = element("select", { id: "add", onchange: (event) => event.target.value && pick(event.target.value) }, element("option", { value: "" }, "choose, the best first"), ...options);
  parent.append(list, element("div", { class: "tools" }, element("label", { for: "add" }, "Add a configuration"), add));
}

function drawPicked() {
  const tasks = section("tasks");
  drawPicker(tasks);
  drawTasks(tasks, sweeps, picked());
  drawClasses(section("classes"), sweeps, picked());
}

function redrawTable(focus) {
  drawTable(document.getElementById("rows"), sweeps);
  if (focus) document.getElementById(focus)?.focus();
}

function show(content) {
  const focus = document.activeElement?.id;
  sweeps = content.sweeps;
  written = content.written;
  drawn.clear();
  const states = sweeps.map((sweep) => `${sweeps.length > 1 ? `${sweep.name} ` : ""}${sweep.state === "unknown" ? "state unknown" : sweep.state}: ${sweep.done.toLocaleString("en")} of ${count(sweep.total, "configuration")}, ${sweep.repetitions} each`);
  document.getElementById("state").textContent = `${states.join("; ")}. Results as of ${new Date(written).toLocaleString()}.`;
  preselect();
  drawVerdict(section("verdict"));
  drawDimensions(section("dimensions"), sweeps);
  drawFront(document.getElementById("dimensions"), sweeps);
  drawParallel(section("parallel"), sweeps, () => { shownRows = ROWS; redrawTable(); });
  drawImportance(section("importance"), sweeps);
  drawProgress(section("progress"), sweeps);
  drawPicked();
  drawForgetting(section("forgetting"), sweeps);
  drawLedger(section("ledger"), sweeps);
  drawFailures(section("failures"), sweeps);
  section("configurations").append(element("div", { id: "rows" }));
  redrawTable();
  document.getElementById("about").textContent = "Written by sweeper.report from the stored results. This file asks for nothing from any network.";
  if (focus) document.getElementById(focus)?.focus();
}

/** Where the page is served: ask for newer data every few seconds, and say so if the server has gone. */
async function follow(address) {
  setTimeout(follow, 5000, address);
  let answer;
  try {
    answer = await fetch(`${address}?since=${encodeURIComponent(written)}`, { cache: "no-store" });
  } catch {
    document.getElementById("state").textContent = `The server has ended. Results as of ${new Date(written).toLocaleString()}.`;
    return;
  }
  if (answer.status !== 200) return;
  const content = await answer.json();
  const where = scrollY;
  show(content);
  scrollTo(0, where);
}

const redrawFigures = () => [...drawn].filter(([where]) => where.dataset.ready).forEach(([, draw]) => draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawFigures);
addEventListener("beforeprint", () => {
  document.documentElement.dataset.theme = "light";
  redrawFigures();
  drawAll();
});
addEventListener("afterprint", () => {
  delete document.documentElement.dataset.theme;
  redrawFigures();
});

show(JSON.parse(document.getElementById("data").textContent));
if (document.body.dataset.live) setTimeout(follow, 5000, document.body.dataset.live);
