"use strict";
// Charts say their values where the pointer is; the table of inputs is unpacked, sorted and filtered.
// Text from outside is only ever set as text, never as markup.

const element = (name, text = "", attributes = {}) => {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

// Charts

function valueAt(line, x, stepwise) {
  // A step curve's value at x is that of the first point not before it.
  const at = line.x.findIndex((point) => point >= x - 1e-12);
  if (at < 0) return stepwise ? 0 : null;
  return stepwise || at === 0 ? line.y[at] : line.x[at] === x ? line.y[at] : line.y[at - 1];
}

function readable(figure) {
  const svg = figure.querySelector("svg");
  const cursor = svg.querySelector(".cursor");
  const reading = figure.querySelector(".reading");
  const { x: axis, lines } = JSON.parse(figure.querySelector("script").textContent);
  const scale = axis.log ? Math.log10 : (v) => v;
  const unscale = axis.log ? (v) => 10 ** v : (v) => v;
  const [low, high] = [scale(axis.low), scale(axis.high)];
  const curves = svg.querySelectorAll(".curve");
  const buttons = figure.querySelectorAll(".legend button");
  const shown = (i) => buttons[i].getAttribute("aria-pressed") === "true";
  let place = 0;
  const show = (share) => {
    place = Math.min(1, Math.max(0, share));
    const x = unscale(low + place * (high - low));
    const pixel = axis.start + place * (axis.end - axis.start);
    cursor.setAttribute("x1", pixel);
    cursor.setAttribute("x2", pixel);
    cursor.style.visibility = "visible";
    const visible = lines.filter((_, i) => shown(i));
    const told = visible.map((line) => [line.name, valueAt(line, x, !axis.log)]);
    const said = told.filter(([, y]) => y !== null);
    // Cut, not rounded: a share of 0.3996 is not shown as 0.4.
    const words = said.map(([name, y]) => `${name} ${(Math.floor(y * 1e4 + 1e-6) / 1e4).toFixed(4)}`);
    const where = axis.log ? Math.round(x).toLocaleString("en") : x.toFixed(3);
    reading.textContent = `${axis.label} ${where}: ${words.join("; ")}`;
  };
  buttons.forEach((button, i) => button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(!shown(i)));
    curves[i].style.visibility = shown(i) ? "" : "hidden";
    show(place);
  }));
  const hide = () => { cursor.style.visibility = "hidden"; };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const pixel = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    show((pixel - axis.start) / (axis.end - axis.start));
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 0.02, ArrowLeft: -0.02, Home: -1, End: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    show(place + step);
  });
}

// Rows

async function unpacked({ columns, count, packed }) {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const found = {};
  columns.forEach((name, column) => {
    const values = new Float64Array(count).fill(-1);
    for (let plane = 0; plane < 8; plane++) {
      const start = (column * 8 + plane) * count;
      const weight = 256 ** plane;
      for (let i = 0; i < count; i++) values[i] += planes[start + i] * weight;
    }
    found[name] = values;
  });
  return found;
}

const millionths = (value) => {
  const whole = Math.floor(value / 1e6);
  return `${whole}.${String(value - whole * 1e6).padStart(6, "0")}`;
};

const PER_PAGE = 50;

class Certificates {
  constructor(data, runs) {
    this.runs = runs;
    this.classes = data.classes;
    this.tile = data.tile;
    this.controls = document.getElementById("controls");
    this.table = document.getElementById("certificates");
    this.pages = document.getElementById("pages");
    this.order = { by: "index", down: false };
    this.page = 0;
    this.choose(0);
    this.listen();
  }

  choose(number) {
    this.run = this.runs[number];
    const { rows, cases } = this.run;
    const known = new Set(rows.label);
    this.reused = rows.cached_n.some((n) => n > 0);
    this.heads();
    const outcomes = [...new Set(cases.map((c) => c.outcome))].map((o) => [o, o]);
    if (!known.has(-1)) outcomes.push(["wrong", "certified, not of its label"]);
    this.options("outcome", outcomes);
    const labels = [...known].filter((l) => l >= 0).sort((a, b) => a - b);
    this.options("label", labels.map((l) => [l, this.className(l)]));
    this.refresh();
  }

  options(name, pairs) {
    const select = this.controls.elements[name];
    const kept = select.value;
    select.replaceChildren(element("option", "all", { value: "" }));
    for (const [value, text] of pairs) select.append(element("option", text, { value }));
    select.value = [...select.options].some((o) => o.value === kept) ? kept : "";
  }

  className(number) {
    if (number < 0) return "";
    const name = this.classes[number];
    return name ? `${number} (${name})` : String(number);
  }

  get columns() {
    const votes = (k, n) => (row) => `${this.run.rows[k][row]} of ${this.run.rows[n][row]}`;
    const share = (k, n) => (row) => this.run.rows[k][row] / Math.max(1, this.run.rows[n][row]);
    const plain = (name) => [name, name, (row) => this.run.rows[name][row].toLocaleString("en")];
    return [
      ["input", "index", (row) => String(this.run.rows.index[row])],
      ["label", "label", (row) => this.className(this.run.rows.label[row])],
      ["predicted", (row) => this.predicted(row), (row) => this.className(this.predicted(row)) || "abstains"],
      ["radius", "radius", (row) => millionths(this.run.rows.radius[row]).slice(0, -2)],
      ["votes", share("k", "n"), votes("k", "n")],
      ...(this.reused ? [["original's votes", share("cached_k", "cached_n"), votes("cached_k", "cached_n")], plain("flips")] : []),
      plain("evaluations"),
      ["outcome", (row) => this.run.rows.case[row], (row) => this.run.cases[this.run.rows.case[row]].outcome],
    ];
  }

  predicted(row) {
    const { rows, cases } = this.run;
    return cases[rows.case[row]].outcome === "certified" ? rows.candidate[row] : -1;
  }

  heads() {
    const line = this.table.tHead.rows[0];
    line.replaceChildren();
    for (const [text, by] of this.columns) {
      const head = element("th", "", { scope: "col" });
      const button = element("button", text, { type: "button" });
      button.addEventListener("click", () => {
        const again = this.order.text === text;
        this.order = { text, by, down: again && !this.order.down };
        this.refresh();
      });
      head.append(button);
      line.append(head);
    }
    line.append(element("th", "why", { scope: "col" }));
  }

  listen() {
    const change = () => { this.page = 0; this.refresh(); };
    this.controls.addEventListener("submit", (event) => event.preventDefault());
    this.controls.addEventListener("input", (event) => {
      if (event.target.name === "run") this.choose(Number(event.target.value));
      change();
    });
    this.controls.querySelector("[name=all]").addEventListener("click", () => {
      for (const { name } of [...this.controls.elements]) {
        if (!["run", "all"].includes(name)) this.controls.elements[name].value = "";
      }
      change();
    });
    const turn = (by) => () => { this.page += by; this.refresh(); };
    this.pages.querySelector("[name=back]").addEventListener("click", turn(-1));
    this.pages.querySelector("[name=on]").addEventListener("click", turn(1));
    for (const part of [this.controls, this.table, this.pages]) part.hidden = false;
  }

  wanted() {
    const { rows, cases } = this.run;
    const asked = Object.fromEntries(new FormData(this.controls));
    const range = asked.index.match(/^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/);
    const [first, last] = range ? [Number(range[1]), Number(range[2] ?? range[1])] : [-1, Infinity];
    const least = (parseFloat(asked.radius) || 0) * 1e6;
    const wrong = asked.outcome === "wrong";
    const found = [];
    for (let row = 0; row < this.run.count; row++) {
      const of = cases[rows.case[row]].outcome;
      const outcome = wrong ? of === "certified" && rows.candidate[row] !== rows.label[row] : !asked.outcome || of === asked.outcome;
      const label = asked.label === "" || rows.label[row] === Number(asked.label);
      if (outcome && label && rows.index[row] >= first && rows.index[row] <= last && rows.radius[row] >= least) found.push(row);
    }
    const { by, down } = this.order;
    const key = typeof by === "function" ? by : (row) => rows[by][row];
    return found.sort((a, b) => (down ? key(b) - key(a) : key(a) - key(b)) || a - b);
  }

  refresh() {
    const found = this.wanted();
    const last = Math.max(0, Math.ceil(found.length / PER_PAGE) - 1);
    this.page = Math.min(Math.max(0, this.page), last);
    const start = this.page * PER_PAGE;
    const rows = found.slice(start, start + PER_PAGE);
    this.table.tBodies[0].replaceChildren(...rows.map((row) => this.line(row)));
    const sorted = this.order.text ?? "input";
    for (const head of this.table.tHead.rows[0].cells) {
      if (head.textContent === sorted) head.setAttribute("aria-sort", this.order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    const part = found.length ? `${start + 1} to ${start + rows.length} of ` : "";
    const of = found.length < this.run.count ? ` that match, out of ${this.run.count.toLocaleString("en")}` : "";
    document.getElementById("shown").textContent = `${this.run.name}: ${part}${found.length.toLocaleString("en")} inputs${of}.`;
    this.pages.querySelector("[name=back]").disabled = this.page === 0;
    this.pages.querySelector("[name=on]").disabled = this.page === last;
  }

  line(row) {
    const line = element("tr");
    this.columns.forEach(([, , text], column) => {
      const cell = element(column ? "td" : "th", text(row), column ? {} : { scope: "row" });
      if (!column) this.picture(cell, row);
      line.append(cell);
    });
    const cell = element("td");
    const button = element("button", "explain", { type: "button", "aria-expanded": "false", "aria-label": `explain input ${this.run.rows.index[row]}` });
    button.addEventListener("click", () => this.toggle(line, button, row));
    cell.append(button);
    line.append(cell);
    return line;
  }

  picture(cell, row) {
    const number = this.run.rows.thumbnail[row];
    if (number < 0) return;
    const { side, columns } = this.tile;
    const tile = element("span", "", { class: "tile", role: "img", "aria-label": `picture of input ${this.run.rows.index[row]}` });
    tile.style.backgroundPosition = `-${(number % columns) * side}px -${Math.floor(number / columns) * side}px`;
    cell.prepend(tile);
  }

  toggle(line, button, row) {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) { line.nextSibling.remove(); return; }
    const detail = element("tr", "", { class: "detail" });
    const cell = element("td", "", { class: "words", colspan: String(this.columns.length + 1) });
    cell.append(element("p", explained(this.run, row)));
    const others = this.runs.filter((run) => run !== this.run).map((run) => this.elsewhere(run, row)).filter(Boolean);
    if (others.length) {
      const list = element("ul");
      list.append(...others.map((text) => element("li", text)));
      cell.append(list);
    }
    detail.append(cell);
    line.after(detail);
  }

  elsewhere(run, row) {
    const there = run.rows.index.indexOf(this.run.rows.index[row]);
    if (there < 0) return "";
    const of = run.cases[run.rows.case[there]].outcome;
    return `${run.name}: class ${this.className(run.rows.candidate[there])}, ${of}, radius ${millionths(run.rows.radius[there])}`;
  }
}

function explained(run, row) {
  // The same words and figures as Certificate.explain, which a test compares.
  const { rows, cases, sigma } = run;
  const of = cases[rows.case[row]];
  const figures = { sigma, alpha: of.alpha, budget: of.budget };
  for (const name of ["q", "radius", "zeta"]) figures[name] = millionths(rows[name][row]);
  for (const name of ["candidate", "k", "n", "cached_k", "cached_n", "flips"]) figures[name] = rows[name][row];
  return of.argument.replace(/\{(\w+)\}/g, (_, name) => figures[name]);
}

async function main() {
  document.querySelectorAll("figure").forEach(readable);
  const data = JSON.parse(document.getElementById("rows").textContent);
  const runs = await Promise.all(data.runs.map(async (run) => ({ ...run, rows: await unpacked(run) })));
  new Certificates(data, runs);
  document.body.dataset.ready = "yes";
}

main();
