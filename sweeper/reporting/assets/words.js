"use strict";
// Words, numbers and elements. All text of the data enters the page as text: nothing here parses HTML.

const METHOD = "method.name";
const WORDS = {
  acc_task_mean_pct: "ACC, %",
  acc_class_weighted_pct: "ACC by class, %",
  forgetting_pct: "Forgetting, %",
};

/** An element with attributes, listeners (`onclick`) and children; texts are children too. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** Text for Plotly, which reads a few HTML tags in what it draws. */
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const fixed = (value, digits = 2) => (value == null ? "–" : value.toFixed(digits));
const signed = (value) => (value == null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`);
const spread = (mean, std) => (mean == null ? "–" : std == null ? fixed(mean) : `${fixed(mean)} ± ${fixed(std)}`);
const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const words = (metric) => WORDS[metric] || `${metric.replace(/_pct$/, "")}, %`;

function value(given) {
  if (given == null) return "–";
  if (typeof given !== "number" || Number.isInteger(given)) return String(given);
  return String(Number(given.toPrecision(4)));
}

function duration(seconds) {
  if (seconds == null) return "–";
  const minutes = seconds / 60;
  if (Math.abs(minutes) < 1) return `${seconds.toFixed(0)} s`;
  return Math.abs(minutes) < 120 ? `${minutes.toFixed(1)} min` : `${(minutes / 60).toFixed(1)} h`;
}

/** A value as YAML reads it back: the same number, text or truth. */
function yaml(given) {
  if (typeof given === "number") {
    const text = String(given);
    return text.includes("e") && !text.includes(".") ? text.replace("e", ".0e") : text;
  }
  if (typeof given === "string" && /^[A-Za-z_]\w*$/.test(given) && !/^(true|false|yes|no|on|off|null|y|n)$/i.test(given))
    return given;
  return JSON.stringify(given);
}

const shell = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, `'"'"'`)}'`);

/** The command that trains a configuration alone; null where no run file leads to it. */
function command(sweep, index) {
  const known = sweep.repeat;
  if (!known) return null;
  const params = paramsOf(sweep, index);
  const method = params[METHOD] ?? known.method;
  const sets = [...known.sets, ...(method === known.method ? known.method_sets : [`method={name: ${method}}`])];
  for (const [name, given] of Object.entries(params)) if (name !== METHOD) sets.push(`${name}=${yaml(given)}`);
  return [...known.start, ...sets.flatMap((set) => ["--set", set]), ...known.end].map(shell).join(" ");
}

/** The values of the dimensions that a configuration has. */
function paramsOf(sweep, index) {
  const found = {};
  for (const [name, values] of Object.entries(sweep.configurations.params))
    if (values[index] != null) found[name] = values[index];
  return found;
}

const inWords = (sweep, index) =>
  sweep.dimensions
    .filter((own) => sweep.configurations.params[own.name][index] != null)
    .map((own) => `${own.short} ${value(sweep.configurations.params[own.name][index])}`)
    .join(", ");

/** Rows as CSV. A text that a spreadsheet would take for a formula is quoted with an apostrophe. */
function csv(header, rows) {
  const cell = (given) => {
    if (given == null) return "";
    const text = typeof given === "string" && /^[=+\-@\t\r]/.test(given) ? `'${given}` : String(given);
    return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return [header, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

function download(name, text) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
