"use strict";
// Charts say their values where the pointer is; inputs are unpacked, sorted, filtered, shown as pictures
// or as a table.
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
  const plot = figure.querySelector(".plot");
  const cursor = plot.querySelector(".cursor");
  const reading = figure.querySelector(".reading");
  const { x: axis, lines } = JSON.parse(figure.querySelector("script").textContent);
  const scale = axis.log ? Math.log10 : (v) => v;
  const unscale = axis.log ? (v) => 10 ** v : (v) => v;
  const [low, high] = [scale(axis.low), scale(axis.high)];
  const curves = plot.querySelectorAll(".curve");
  const buttons = figure.querySelectorAll(".legend button");
  const chosen = figure.querySelector(".bands select");
  // A button for each curve but the lower edges of bands, which go with theirs.
  const button = new Map(lines.filter((line) => line.kind !== "together").map((line, i) => [line, buttons[i]]));
  const own = (line) => lines.find((other) => other.series === line.series && other.kind === "alone");
  const banded = (line) => chosen && ["all", String(line.series)].includes(chosen.value);
  const shown = (line) => line.kind === "together" ? banded(line) && shown(own(line)) : button.get(line).getAttribute("aria-pressed") === "true";
  let place = 0;
  const draw = () => {
    lines.forEach((line, i) => curves[i].toggleAttribute("hidden", !shown(line)));
    for (const [selector, kinds] of [[".area", ["together"]], [".signs", ["alone", "screened"]]]) {
      for (const part of plot.querySelectorAll(selector)) {
        const line = lines.find((one) => String(one.series) === part.dataset.series && kinds.includes(one.kind));
        part.toggleAttribute("hidden", !shown(line));
      }
    }
  };
  const show = (share) => {
    place = Math.min(1, Math.max(0, share));
    const x = unscale(low + place * (high - low));
    cursor.setAttribute("x1", `${100 * place}%`);
    cursor.setAttribute("x2", `${100 * place}%`);
    cursor.style.visibility = "visible";
    const told = lines.filter(shown).map((line) => [line.name, valueAt(line, x, !axis.log)]);
    const said = told.filter(([, y]) => y !== null);
    // Cut, not rounded: a share of 0.3996 is not shown as 0.4.
    const words = said.map(([name, y]) => `${name} ${(Math.floor(y * 1e4 + 1e-6) / 1e4).toFixed(4)}`);
    const where = axis.log ? Math.round(x).toLocaleString("en") : x.toFixed(3);
    reading.textContent = `${axis.label} ${where}: ${words.join("; ")}`;
  };
  for (const one of buttons) {
    one.addEventListener("click", () => {
      one.setAttribute("aria-pressed", String(one.getAttribute("aria-pressed") !== "true"));
      draw();
      show(place);
    });
  }
  if (chosen) {
    chosen.parentElement.hidden = false;
    chosen.addEventListener("input", draw);
  }
  draw();
  const hide = () => { cursor.style.visibility = "hidden"; };
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    show((event.clientX - box.left) / box.width);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 0.02, ArrowLeft: -0.02, Home: -1, End: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    show(place + step);
  });
}

// Only one explanation is open at a time, and Escape closes it; what is folded opens where a link
// leads to it, and all of it on paper.

function unfolding() {
  const helps = [...document.querySelectorAll("details.help")];
  for (const help of helps) {
    // Not on toggle, which comes late: of two that are opened at once it would close the second.
    help.querySelector("summary").addEventListener("click", () => {
      for (const other of helps) if (other !== help) other.open = false;
    });
    help.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      help.open = false;
      help.querySelector("summary").focus();
    });
  }
  const follow = () => {
    const aim = document.getElementById(location.hash.slice(1));
    const folded = aim && aim.closest("details");
    if (folded) folded.open = true;
  };
  window.addEventListener("hashchange", follow);
  follow();
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not(.help):not(:has(> pre)):not([open])")];
    for (const one of opened) one.open = true;
  });
  window.addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
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
const ORDERS = {
  loss: { by: "loss", down: true },
  small: { by: "right", down: false },
  large: { by: "right", down: true },
  index: { by: "index", down: false },
};

class Certificates {
  constructor(data, runs) {
    this.runs = runs;
    this.classes = data.classes;
    this.tile = data.tile;
    for (const name of ["controls", "gallery", "listing", "pages"]) this[name] = document.getElementById(name);
    this.table = document.getElementById("certificates");
    this.fields = this.controls.elements;
    for (const run of runs) this.derive(run);
    this.most = Math.max(1, ...runs.map((run) => run.rows.radius.reduce((a, b) => Math.max(a, b), 0)));
    this.page = 0;
    this.choose(Number(this.fields.run.value));
    this.listen();
  }

  derive(run) {
    // What counts of a radius: it is 0 unless certified of the label, where that is known.
    const { rows, cases, count } = run;
    const certified = (row) => cases[rows.case[row]].outcome === "certified";
    const counts = (row) => certified(row) && (rows.label[row] < 0 || rows.label[row] === rows.candidate[row]);
    rows.right = Float64Array.from({ length: count }, (_, row) => counts(row) ? rows.radius[row] : 0);
    run.place = new Map([...rows.index].map((index, row) => [index, row]));
  }

  choose(number) {
    this.run = this.runs[number];
    const { rows, cases, count, base } = this.run;
    this.base = base < 0 ? null : this.runs[base];
    this.before = Array.from({ length: count }, (_, row) => this.base ? this.base.place.get(rows.index[row]) ?? -1 : -1);
    rows.loss = Float64Array.from({ length: count }, (_, row) => this.before[row] < 0 ? 0 : this.base.rows.right[this.before[row]] - rows.right[row]);
    const known = new Set(rows.label);
    this.reused = rows.cached_n.some((n) => n > 0);
    const loss = [...this.fields.order.options].find((o) => o.value === "loss");
    loss.hidden = loss.disabled = !this.base;
    if (!this.order || this.fields.order.value === "" || (loss.disabled && loss.selected)) this.fields.order.value = this.base ? "loss" : "small";
    this.order = ORDERS[this.fields.order.value];
    this.heads();
    const outcomes = [...new Set(cases.map((c) => c.outcome))].map((o) => [o, o]);
    if (!known.has(-1)) outcomes.push(["wrong", "certified, not of its label"]);
    this.options("outcome", outcomes);
    const labels = [...known].filter((l) => l >= 0).sort((a, b) => a - b);
    this.options("label", labels.map((l) => [l, this.className(l)]));
    this.refresh();
  }

  options(name, pairs) {
    const select = this.fields[name];
    const kept = select.value;
    select.replaceChildren(element("option", "all", { value: "" }));
    for (const [value, text] of pairs) select.append(element("option", text, { value }));
    select.value = [...select.options].some((o) => o.value === kept) ? kept : "";
  }

  className(number) {
    if (number < 0) return "";
    const name = this.classes[number];
    return name && name !== String(number) ? `${number} (${name})` : String(number);
  }

  short(value) {
    return millionths(value).slice(0, -2);
  }

  get columns() {
    const { rows, cases } = this.run;
    const votes = (k, n) => (row) => `${rows[k][row]} of ${rows[n][row]}`;
    const share = (k, n) => (row) => rows[k][row] / Math.max(1, rows[n][row]);
    const plain = (name) => [name, name, (row) => rows[name][row].toLocaleString("en")];
    const before = (row) => this.before[row] < 0 ? -1 : this.base.rows.right[this.before[row]];
    return [
      ["input", "index", (row) => String(rows.index[row])],
      ["label", "label", (row) => this.className(rows.label[row])],
      ["predicted", (row) => this.predicted(row), (row) => this.className(this.predicted(row)) || "abstains"],
      ["radius", "radius", (row) => this.short(rows.radius[row])],
      ...(this.base ? [["original's radius", before, (row) => before(row) < 0 ? "–" : this.short(before(row))]] : []),
      ["votes", share("k", "n"), votes("k", "n")],
      ...(this.reused ? [["original's votes", share("cached_k", "cached_n"), votes("cached_k", "cached_n")], plain("flips")] : []),
      plain("evaluations"),
      ["outcome", (row) => rows.case[row], (row) => cases[rows.case[row]].outcome],
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
        this.order = { text, by, down: this.order.text === text && !this.order.down };
        this.fields.order.value = "";
        this.page = 0;
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
      if (event.target.name === "order") this.order = ORDERS[event.target.value];
      change();
    });
    this.fields.all.addEventListener("click", () => {
      for (const name of ["outcome", "label", "index", "radius"]) this.fields[name].value = "";
      change();
    });
    const turn = (by) => () => { this.page += by; this.refresh(); };
    this.pages.querySelector("[name=back]").addEventListener("click", turn(-1));
    this.pages.querySelector("[name=on]").addEventListener("click", turn(1));
    for (const part of [this.controls, this.pages]) part.hidden = false;
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
    const asTable = this.fields.view.value === "table";
    this.gallery.hidden = asTable;
    this.listing.hidden = !asTable;
    this.gallery.replaceChildren(...(asTable ? [] : rows.map((row) => this.card(row))));
    this.table.tBodies[0].replaceChildren(...(asTable ? rows.map((row) => this.line(row)) : []));
    const sorted = this.order.text ?? (this.order.by === "index" ? "input" : null);
    for (const head of this.table.tHead.rows[0].cells) {
      if (head.textContent === sorted) head.setAttribute("aria-sort", this.order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    const part = found.length ? `${start + 1} to ${start + rows.length} of ` : "";
    const of = found.length < this.run.count ? ` that match, out of ${this.run.count.toLocaleString("en")}` : "";
    document.getElementById("shown").textContent = `${this.run.name}: ${part}${found.length.toLocaleString("en")} inputs${of}.`;
    this.pages.querySelector("[name=back]").disabled = this.page === 0;
    this.pages.querySelector("[name=on]").disabled = this.page === last;
    this.pages.hidden = last === 0;
  }

  card(row) {
    const { rows, cases } = this.run;
    const card = element("li", "", { class: "card" });
    const shot = element("div", "", { class: "shot" });
    this.picture(shot, row);
    card.append(shot);
    const label = this.className(rows.label[row]);
    card.append(element("p", `Input ${rows.index[row]}${label ? `: ${label}` : ""}`));
    const found = this.predicted(row);
    const wrong = found >= 0 && label && rows.label[row] !== found;
    const outcome = found < 0 ? cases[rows.case[row]].outcome : `certified as ${this.className(found)}`;
    card.append(element("p", outcome, wrong ? { class: "wrong" } : {}));
    card.append(this.meter(row));
    const said = element("div", "", { class: "said" });
    const figures = element("p", `radius ${this.short(rows.radius[row])}`);
    if (this.before[row] >= 0) figures.append(element("br"), `original ${this.short(this.base.rows.right[this.before[row]])}`);
    said.append(figures);
    said.append(this.explainer(row, () => {
      card.classList.add("open");
      const words = element("div", "", { class: "words" });
      card.append(words);
      return [words, () => { card.classList.remove("open"); words.remove(); }];
    }));
    card.append(said);
    return card;
  }

  meter(row) {
    // Only for the eye: the figures stand next to it.
    const meter = element("span", "", { class: "meter", "aria-hidden": "true" });
    const part = (value, name) => {
      const made = element("i", "", { class: name });
      made.style.width = `${(100 * Math.max(0, value)) / this.most}%`;
      meter.append(made);
    };
    part(this.run.rows.radius[row], "");
    if (this.before[row] >= 0) part(this.base.rows.right[this.before[row]], "before");
    return meter;
  }

  line(row) {
    const line = element("tr");
    this.columns.forEach(([name, , text], column) => {
      const cell = element(column ? "td" : "th", text(row), column ? {} : { scope: "row" });
      if (!column) this.picture(cell, row);
      if (name === "radius") cell.append(this.meter(row));
      line.append(cell);
    });
    const cell = element("td");
    cell.append(this.explainer(row, () => {
      const detail = element("tr", "", { class: "detail" });
      const words = element("td", "", { class: "words", colspan: String(this.columns.length + 1) });
      detail.append(words);
      line.after(detail);
      return [words, () => detail.remove()];
    }));
    line.append(cell);
    return line;
  }

  picture(place, row) {
    const number = this.run.rows.thumbnail[row];
    if (number < 0) return;
    const { side, columns } = this.tile;
    const tile = element("span", "", { class: "tile", role: "img", "aria-label": `picture of input ${this.run.rows.index[row]}` });
    tile.style.backgroundPosition = `-${(number % columns) * side}px -${Math.floor(number / columns) * side}px`;
    place.prepend(tile);
  }

  explainer(row, open) {
    const button = element("button", "explain", { type: "button", "aria-expanded": "false", "aria-label": `explain input ${this.run.rows.index[row]}` });
    let close = null;
    button.addEventListener("click", () => {
      button.setAttribute("aria-expanded", String(!close));
      if (close) { close(); close = null; return; }
      const [place, undo] = open();
      close = undo;
      place.append(element("p", explained(this.run, row)));
      const others = this.runs.filter((run) => run !== this.run).map((run) => this.elsewhere(run, row)).filter(Boolean);
      if (!others.length) return;
      const list = element("ul");
      list.append(...others.map((text) => element("li", text)));
      place.append(list);
    });
    return button;
  }

  elsewhere(run, row) {
    const there = run.place.get(this.run.rows.index[row]);
    if (there === undefined) return "";
    const of = run.cases[run.rows.case[there]].outcome;
    return `${run.name} (σ = ${run.sigma}): class ${this.className(run.rows.candidate[there])}, ${of}, radius ${millionths(run.rows.radius[there])}`;
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
  unfolding();
  const data = JSON.parse(document.getElementById("rows").textContent);
  const runs = await Promise.all(data.runs.map(async (run) => ({ ...run, rows: await unpacked(run) })));
  new Certificates(data, runs);
  document.body.dataset.ready = "yes";
}

main();
