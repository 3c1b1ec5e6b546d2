"use strict";
// All text goes into the page as text nodes: nothing that a run holds can become markup.
function el(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, String(value));
  }
  node.append(...children.filter((child) => child != null).map((child) => (child instanceof Node ? child : String(child))));
  return node;
}
function svg(tag, properties, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(properties)) node.setAttribute(key, String(value));
  if (text != null) node.textContent = text;
  return node;
}
const known = (value) => value !== null && value !== undefined;
const number = (value, digits = 4) => (known(value) ? value.toFixed(digits) : "–");
const count = (value) => (known(value) ? value.toLocaleString("en-US") : "–");
function milliseconds(value) {
  if (!known(value)) return "–";
  return `${value >= 100 ? value.toFixed(1) : value >= 1 ? value.toFixed(3) : value.toFixed(4)} ms`;
}
// A number of unknown size: whole ones and large ones without digits that nobody reads.
function plain(value) {
  if (!known(value)) return "–";
  return Number.isInteger(value) || Math.abs(value) >= 1000 ? count(Math.round(value)) : value.toFixed(Math.abs(value) >= 10 ? 1 : 4);
}
function duration(seconds) {
  if (!known(seconds)) return "–";
  if (seconds > 0 && seconds < 0.1) return `${(1000 * seconds).toFixed(0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
const spread = (values) => [values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), -Infinity)];

// A small table; the first cell of each row is its head.
function plainTable(titles, rows) {
  const line = ([first, ...rest]) => el("tr", {}, el("th", {}, first), ...rest.map((cell) => el("td", { class: "cell" }, cell)));
  const head = el("thead", {}, el("tr", {}, ...titles.map((title) => el("th", {}, title))));
  return el("table", {}, titles.length ? head : null, el("tbody", {}, ...rows.map(line)));
}

// A table with sortable columns, a filter and pages; `columns`: {title, value(row), show(row), number, class}. `kept` holds
// what the reader has chosen, so that it outlasts another drawing of the page.
function sortableTable(columns, rows, kept, { filterText, onRow, hint = "filter", pageSize = 50, sortBy = columns[0].title, descending = false, filters = [] }) {
  const state = Object.assign(kept, { sort: sortBy, down: descending, shown: pageSize, words: "", filter: 0, ...kept });
  const body = el("tbody"), head = el("tr"), more = el("button", { type: "button", onclick: () => { state.shown += pageSize * 4; draw(); } });
  const status = el("span", { class: "note" });
  const sorted = () => columns.find((column) => column.title === state.sort) || columns[0];
  for (const column of columns) {
    const label = el("button", { type: "button", onclick: () => { state.down = sorted() === column ? !state.down : !!column.number; state.sort = column.title; draw(); } }, column.title);
    head.append(el("th", { class: column.number ? "number" : "" }, label));
  }
  function draw() {
    const words = state.words.toLowerCase().trim().split(" "), { value } = sorted();
    const found = rows.filter((row) => (!filters.length || filters[state.filter].keep(row)) && words.every((word) => filterText(row).includes(word)));
    found.sort((a, b) => {
      const x = value(a), y = value(b);
      if (!known(x) || !known(y)) return known(x) ? -1 : known(y) ? 1 : 0;
      return (x < y ? -1 : x > y ? 1 : 0) * (state.down ? -1 : 1);
    });
    columns.forEach((column, index) => {
      const cell = head.children[index], isSorted = column === sorted();
      cell.setAttribute("aria-sort", isSorted ? (state.down ? "descending" : "ascending") : "none");
      cell.firstChild.textContent = column.title + (isSorted ? (state.down ? " ↓" : " ↑") : "");
    });
    body.replaceChildren(...found.slice(0, state.shown).map((row) => {
      const cells = columns.map((column) => el("td", { class: column.class || (column.number ? "number" : "") }, column.show(row)));
      return el("tr", onRow ? { tabindex: 0, onclick: () => onRow(row), onkeydown: (event) => { if (event.key === "Enter") onRow(row); } } : {}, ...cells);
    }));
    more.hidden = found.length <= state.shown;
    more.textContent = `show more of ${count(found.length)}`;
    status.textContent = `${count(found.length)} of ${count(rows.length)}`;
  }
  const choose = (change) => { Object.assign(state, change, { shown: pageSize }); draw(); };
  const search = el("input", { type: "search", value: state.words, placeholder: hint, "aria-label": "filter the table", oninput: (event) => choose({ words: event.target.value }) });
  const choice = filters.length ? el("select", { "aria-label": "which rows", onchange: (event) => choose({ filter: event.target.selectedIndex }) }, ...filters.map((filter, index) => el("option", { selected: index === state.filter }, filter.title))) : null;
  draw();
  return el("div", {}, el("div", { class: "controls" }, choice, search, status), el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), body)), el("p", {}, more));
}
