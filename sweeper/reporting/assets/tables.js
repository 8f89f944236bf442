"use strict";
// The tables: ledger, failures, and all configurations, sorted by any column.

const ROWS = 100; // shown at first, and with each press of the button
const sorting = { column: "value", descending: null }; // null: the best first
let shownRows = ROWS;

const table = (caption, header, rows) =>
  element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    element("table", {}, element("thead", {}, element("tr", {}, ...header.map(([name, kind]) => element("th", { scope: "col", class: kind }, name)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell, k) => element("td", { class: header[k][1] }, cell)))))));

const csvButton = (name, numbers) =>
  element("button", { type: "button", class: "row", onclick: () => download(`${name}.csv`, csv(...numbers())) }, "Numbers (CSV)");

function drawLedger(parent, sweeps) {
  const kinds = [["spent", "spent_s"], ["saved by shared first tasks", "sharing_s"], ["saved by pruning", "pruning_s"], ["saved by packs", "packing_s"], ["saved by the store", "store_s"]];
  parent.append(element("p", { class: "note" }, "Device time. Savings are what the same runs would have cost in addition; a negative one is a loss."));
  const most = Math.max(1e-9, ...sweeps.flatMap((sweep) => kinds.map(([, key]) => sweep.ledger[key])));
  const rows = sweeps.flatMap((sweep) => kinds.map(([name, key]) => {
    const meter = element("span", { class: "meter", "aria-hidden": "true" });
    meter.style.width = `${Math.max(0, (100 * sweep.ledger[key]) / most)}%`;
    return [...(sweeps.length > 1 ? [sweep.name] : []), name, duration(sweep.ledger[key]), meter];
  }));
  parent.append(table("Ledger", [...(sweeps.length > 1 ? [["sweep", ""]] : []), ["what", ""], ["device time", "number"], ["", "bar"]], rows));
  parent.append(element("div", { class: "tools" }, csvButton("ledger", () => [["sweep", ...kinds.map(([, key]) => key)], sweeps.map((sweep) => [sweep.name, ...kinds.map(([, key]) => sweep.ledger[key])])])));
}

function drawFailures(parent, sweeps) {
  const all = sweeps.flatMap((sweep) => sweep.failures.map((one) => [sweep, one]));
  const pruned = sweeps.reduce((sum, sweep) => sum + sweep.configurations.status.filter((status) => status === "pruned").length, 0);
  const said = `${all.length ? "" : "No configuration has diverged or failed. "}${pruned ? `${count(pruned, "configuration")} pruned, which is no failure.` : ""}`;
  if (said) parent.append(element("p", { class: "note" }, said));
  if (!all.length) return;
  const row = ([sweep, one]) => [...(sweeps.length > 1 ? [sweep.name] : []), one.status, String(one.runs), one.trials.join(", "), one.reason];
  parent.append(table("Failures", [...(sweeps.length > 1 ? [["sweep", ""]] : []), ["status", ""], ["runs", "number"], ["trials (at most 20)", ""], ["reason", "text"]], all.map(row)));
  parent.append(element("div", { class: "tools" }, csvButton("failures", () => [["sweep", "status", "runs", "trials", "reason"], all.map(([sweep, one]) => [sweep.name, one.status, one.runs, one.trials.join(" "), one.reason])])));
}

/** The columns of the table: {key, name, number, of(sweep, i), show(sweep, i)}. */
function columnsOf(sweeps) {
  const own = (name) => (sweep, i) => sweep.configurations[name][i];
  const number = (key, name, show) => ({ key, name, number: true, of: own(key), show: (sweep, i) => show(own(key)(sweep, i), sweep, i) });
  const groups = ["many", "medium", "few"].filter((key) => sweeps.some((sweep) => sweep.configurations[key].some((one) => one != null)));
  return [
    ...(sweeps.length > 1 ? [{ key: "sweep", name: "sweep", of: (sweep) => sweep.name, show: (sweep) => sweep.name }] : []),
    number("trial", "trial", String),
    number("value", words(sweeps[0].objective.metric), (mean, sweep, i) => spread(mean, sweep.configurations.std[i])),
    ...dimensionsOf(sweeps).map((one) => ({ key: one.name, name: one.short, number: !one.choices, of: param(one.name), show: (sweep, i) => value(param(one.name)(sweep, i)) })),
    ...groups.map((key) => number(key, `${key}, %`, (mean) => fixed(mean, 1))),
    number("forgetting", "forgetting, %", (mean) => fixed(mean, 1)),
    number("n", "seeds", String),
    number("device_s", "device time", duration),
    { key: "status", name: "status", of: own("status"), show: own("status") },
  ];
}

/** Indices of the configurations that the table shows, in its order. */
function sorted(sweeps, columns) {
  const column = columns.find((one) => one.key === sorting.column) ?? columns[0];
  const rows = sweeps.flatMap((sweep, s) => [...sweep.configurations.trial.keys()].filter((i) => !brushes.size || (sweep.configurations.status[i] === "finished" && brushed(sweep, i))).map((i) => ({ s, i, by: column.of(sweep, i) })));
  const best = column.key === "value" && sorting.descending === null;
  const down = best ? sign(sweeps[0]) > 0 : sorting.descending;
  const late = (row) => (row.by == null ? 2 : best && sweeps[row.s].configurations.status[row.i] !== "finished" ? 1 : 0);
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  return rows.sort((a, b) => late(a) - late(b) || (late(a) === 2 ? 0 : (down ? -1 : 1) * compare(a.by, b.by)) || a.s - b.s || a.i - b.i);
}

function drawTable(parent, sweeps) {
  const columns = columnsOf(sweeps);
  const rows = sorted(sweeps, columns);
  const special = sweeps.map(marks);
  const total = sweeps.reduce((sum, sweep) => sum + sweep.configurations.trial.length, 0);
  const sort = (key) => {
    const same = sorting.column === key;
    const descending = same ? !(sorting.descending ?? sign(sweeps[0]) > 0) : key !== "trial" && columns.find((one) => one.key === key).number;
    Object.assign(sorting, { column: key, descending });
    redrawTable(`sort-${key}`);
  };
  const direction = (key) => (sorting.column !== key ? "none" : (sorting.descending ?? sign(sweeps[0]) > 0) ? "descending" : "ascending");
  const header = columns.map((one) => element("th", { scope: "col", "aria-sort": direction(one.key), class: one.number ? "number" : "" }, element("button", { type: "button", id: `sort-${one.key}`, onclick: () => sort(one.key) }, one.name)));
  const body = element("tbody");
  for (const { s, i } of rows.slice(0, shownRows)) body.append(rowOf(sweeps, s, i, columns, special[s].get(i)));
  parent.replaceChildren(
    element("p", { role: "status" }, brushes.size ? `${rows.length.toLocaleString("en")} of ${count(total, "configuration")}: those within the brushes.` : `${count(total, "configuration")}.`),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Configurations" },
      element("table", {}, element("thead", {}, element("tr", {}, element("th", { scope: "col", class: "pick" }, "pick"), element("th", { scope: "col", class: "pick" }, "repeat"), ...header)), body)),
    element("div", { class: "tools" },
      rows.length > shownRows ? element("button", { type: "button", id: "more", onclick: () => { shownRows += ROWS; redrawTable("more"); } }, `Show ${Math.min(ROWS, rows.length - shownRows)} more`) : null,
      csvButton("configurations", () => [["sweep", "trial", "status", "mean", "std", "n", ...dimensionsOf(sweeps).map((one) => one.name), "many_pct", "medium_pct", "few_pct", "forgetting_pct", "device_s", "command"],
        rows.map(({ s, i }) => { const sweep = sweeps[s], own = sweep.configurations; return [sweep.name, own.trial[i], own.status[i], own.value[i], own.std[i], own.n[i], ...dimensionsOf(sweeps).map((one) => param(one.name)(sweep, i)), own.many[i], own.medium[i], own.few[i], own.forgetting[i], own.device_s[i], command(sweep, i)]; })]),
      element("span", { class: "note" }, rows.length > shownRows ? `${shownRows.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows are shown; the CSV has all.` : "")),
  );
}

function rowOf(sweeps, s, i, columns, mark) {
  const sweep = sweeps[s];
  const trial = sweep.configurations.trial[i];
  const key = keyOf(s, trial);
  const box = element("input", { type: "checkbox", "aria-label": `Pick trial ${trial}`, "data-key": key, onchange: () => pick(key) });
  box.checked = picks.includes(key);
  const row = element("tr", { class: mark ? "marked" : "", "data-trial": trial });
  if (mark) row.style.setProperty("--mark", `var(--${mark.kind})`);
  const open = element("button", { type: "button", class: "row", "aria-expanded": "false", "aria-label": `Command that repeats trial ${trial}` }, "command");
  open.addEventListener("click", () => toggleCommand(open, row, sweep, i, columns.length + 2));
  row.append(element("td", { class: "pick" }, box), element("td", { class: "pick" }, open));
  for (const one of columns) {
    const cell = element("td", { class: one.number ? "number" : "" }, one.show(sweep, i));
    if (one.key === "trial" && mark) cell.append(element("span", { class: "tag", title: mark.label }, mark.tag));
    row.append(cell);
  }
  return row;
}

function toggleCommand(button, row, sweep, index, width) {
  const open = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!open));
  if (open) return row.nextElementSibling.remove();
  const text = command(sweep, index);
  const said = element("code", {}, text ?? "No run file in runs/ leads to this sweep: train it from the one that the sweep started from.");
  const copy = element("button", { type: "button", onclick: () => navigator.clipboard?.writeText(text).then(() => (copy.textContent = "Copied")) }, "Copy");
  row.after(element("tr", {}, element("td", { class: "command", colspan: width }, element("div", {}, said, " ", text ? copy : null))));
}
