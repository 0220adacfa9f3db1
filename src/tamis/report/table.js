"use strict";
// Names come from files and folders of other people: they are set as textContent and never as markup.
const { classes, columns, words = {}, titles = {}, noun = "sample" } = JSON.parse(document.getElementById("content").textContent);
const PAGE = 50;
const element = (id) => document.getElementById(id);
const className = (number) => (number < 0 ? "" : classes[number]);

const shown = [
  ["key", "Sample"], ["index", "Index", "n"], ["points", "Points", "n"], ["count", "Count when last shown", "n"], ["predicted_count", "Predicted", "n"], ["label", "Given", "class"], ["predicted", "Predicted", "class"], ["clean", "Clean", "class"],
  ["sigma", "Sigma", "n"], ["score", "Mean score", "n"], ["loss", "Mean loss", "n"], ["right", "Epochs right", "n"], ["shown", "Epochs shown", "n"], ["hidden", "Epochs hidden", "n"],
  ["seconds", "Time", "n"], ["stage", "Stage", "word"], ["change", "Change", "n"], ["precision", "AP", "n"], ["boxes", "Boxes", "n"], ["reason", "Reason", "word"],
].filter(([name]) => columns[name]).map(([name, title, kind]) => [name, titles[name] || title, kind]);
const word = (name, number) => (number < 0 ? "" : words[name][number]);
const value = (name, kind, row) => (kind === "class" ? className(columns[name][row]) : kind === "word" ? word(name, columns[name][row]) : columns[name][row]);
const text = (name, kind, row) => { const found = value(name, kind, row); return found === null ? "" : String(found); };

const filters = { ["All " + noun + "s"]: () => true };
for (const [number, name] of (words.stage || []).entries()) filters["Stage: " + name] = (row) => columns.stage[row] === number;
if (columns.predicted) filters["Predicted another class"] = (row) => columns.predicted[row] >= 0 && columns.predicted[row] !== columns.label[row];
if (columns.count) filters["Counted too high"] = (row) => columns.count[row] !== null && columns.predicted_count[row] > columns.count[row];
if (columns.count) filters["Counted too low"] = (row) => columns.count[row] !== null && columns.predicted_count[row] < columns.count[row];
if (columns.clean) filters["Known to be wrong"] = (row) => columns.clean[row] !== columns.label[row];
if (columns.clean) filters["Known to be right"] = (row) => columns.clean[row] === columns.label[row];
if (columns.hidden) filters["Hidden at least once"] = (row) => columns.hidden[row] > 0;

const state = { rows: columns.key.map((_, row) => row), sort: ["sigma", "score", "loss", "key"].find((name) => columns[name]), down: true, page: 0 };

function compare(name, kind) {
  const sign = state.down ? -1 : 1;
  return (a, b) => {
    const one = value(name, kind, a), other = value(name, kind, b);
    if (one === null || other === null) return (one === null) - (other === null) || a - b;
    return sign * (one < other ? -1 : one > other ? 1 : 0) || a - b;
  };
}

function choose() {
  const wanted = element("search").value.trim().toLowerCase();
  const passes = filters[element("filter").value];
  const named = classes.map((name) => name.toLowerCase().includes(wanted));
  const wordy = Object.keys(words).map((name) => [columns[name], words[name].map((text) => text.toLowerCase().includes(wanted))]);
  const matches = (row) => columns.key[row].toLowerCase().includes(wanted) || wordy.some(([column, hits]) => hits[column[row]]) || (columns.label && (named[columns.label[row]] || named[columns.predicted[row]]));
  const [name, , kind] = shown.find(([name]) => name === state.sort);
  state.rows = columns.key.map((_, row) => row).filter((row) => passes(row) && (!wanted || matches(row))).sort(compare(name, kind));
  state.page = 0;
  draw();
}

function cell(row, [name, , kind]) {
  const td = document.createElement("td");
  td.className = name === "key" ? "key" : kind === "n" || kind === "word" ? kind : "";
  if (kind === "class" && name !== "label" && columns[name][row] >= 0 && columns[name][row] !== columns.label[row]) td.className = "differs";
  const inner = td.appendChild(document.createElement("bdi"));
  inner.textContent = text(name, kind, row);
  if (name === "key" || kind === "word") td.title = inner.textContent;
  return td;
}

function draw() {
  const pages = Math.max(1, Math.ceil(state.rows.length / PAGE));
  const rows = state.rows.slice(state.page * PAGE, (state.page + 1) * PAGE).map((row) => {
    const tr = document.createElement("tr");
    tr.append(...shown.map((column) => cell(row, column)));
    return tr;
  });
  element("table").tBodies[0].replaceChildren(...rows);
  for (const th of element("table").tHead.rows[0].cells) {
    if (th.dataset.name === state.sort) th.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
  }
  element("found").textContent = state.rows.length.toLocaleString("en") + " " + noun + (state.rows.length === 1 ? "" : "s");
  element("page").textContent = "Page " + (state.page + 1) + " of " + pages;
  element("back").disabled = state.page === 0;
  element("forth").disabled = state.page === pages - 1;
}

function head([name, title, kind]) {
  const th = document.createElement("th");
  th.className = kind === "n" ? "n" : "";
  th.dataset.name = name;
  const button = th.appendChild(document.createElement("button"));
  button.type = "button";
  button.textContent = title;
  button.addEventListener("click", () => {
    state.down = state.sort === name ? !state.down : kind === "n" && name !== "index";
    state.sort = name;
    choose();
  });
  return th;
}

// A spreadsheet would run a cell that begins like a formula: such a cell gets a quote in front.
function csvCell(content) {
  const safe = /^[=+\-@\t\r]/.test(content) && !/^-?[\d.]+(e-?\d+)?$/.test(content) ? "'" + content : content;
  return '"' + safe.replaceAll('"', '""') + '"';
}

function download() {
  const lines = [shown.map(([, title]) => csvCell(title)), ...state.rows.map((row) => shown.map(([name, , kind]) => csvCell(text(name, kind, row))))];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.map((line) => line.join(",") + "\r\n").join("")], { type: "text/csv" }));
  link.download = noun + "s.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function turn(by) { state.page += by; draw(); }

element("table").tHead.rows[0].append(...shown.map(head));
for (const name of Object.keys(filters)) element("filter").add(new Option(name));
element("search").addEventListener("input", choose);
element("filter").addEventListener("change", choose);
element("download").addEventListener("click", download);
element("back").addEventListener("click", () => turn(-1));
element("forth").addEventListener("click", () => turn(1));
choose();
