"use strict";
// Texts of the image are only ever put into text nodes and attributes that are no code.
const MANY = 200, CELLS = 400, LEAST = 5, DEPTH = 4;
const $ = (id) => document.getElementById(id);

function make(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, run] of Object.entries(value)) node.addEventListener(event, run);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

function bytes(size) {
  if (size < 0 || size === null || size === undefined) return "?";
  if (size < 1000) return `${size} B`;
  let power = -1, value = size;
  while (value >= 999.95 && power < 3) { value /= 1000; power++; }
  return `${value.toFixed(1)} ${["kB", "MB", "GB", "TB"][power]}`;
}

const count = (number) => number.toLocaleString("en-US");
const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;
const percent = (part, whole) => (whole ? `${Math.round((100 * part) / whole)} %` : "");

async function read() {
  const packed = Uint8Array.from(atob($("data").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return JSON.parse(await new Response(stream).text());
}

// Files: number, path and what the columns say.
class Files {
  constructor(anatomy) {
    Object.assign(this, anatomy);
    this.names = anatomy.names === "" ? [] : anatomy.names.split("\n");
    this.parents = new Int32Array(this.names.length);
    const trail = [];
    for (let i = 0; i < this.names.length; i++) {
      const depth = this.depths[i];
      trail.length = depth;
      this.parents[i] = depth ? trail[depth - 1] : -1;
      trail[depth] = i;
    }
  }

  parts(i) {
    const parts = [];
    for (; i >= 0; i = this.parents[i]) parts.push(this.names[i]);
    return parts.reverse();
  }

  path(i) { return "/" + this.parts(i).join("/"); }

  digest(number) { return make("span", { class: "whole", text: this.layerNames[number]?.[0] ?? "" }); }

  layer(number) {
    const layer = this.layerNames[number];
    return layer ? `${layer[0]} ${layer[1]}`.trim() : "unknown layer";
  }

  kind(i) {
    const name = this.names[i], dot = name.lastIndexOf(".");
    if (/\.so(\.[0-9.]+)?$/.test(name)) return ".so";
    return dot > 0 && name.length - dot < 10 && /[a-z]/i.test(name.slice(dot)) ? name.slice(dot).toLowerCase() : "without extension";
  }

  group(i, by) {
    if (by === "layer") return this.layer(this.layers[i]);
    if (by === "kind") return this.kind(i);
    return this.owners[i] < 0 ? "no package" : this.ownerNames[this.owners[i]];
  }

  // The tree by directory, or by group and then by directory. Nodes of directories are shared by
  // the parents of files, so that each is looked up once.
  tree(by) {
    const root = new Node("", null), known = new Map();
    const directory = (i, top, key) => {
      if (i < 0) return top;
      const place = key + i;
      let node = known.get(place);
      if (!node) {
        node = directory(this.parents[i], top, key).child(this.names[i]);
        known.set(place, node);
      }
      return node;
    };
    for (let i = 0; i < this.names.length; i++) {
      if (this.sizes[i] < 0 || !(this.sizes[i] || this.stored[i])) continue;
      let top = root, key = "";
      if (by !== "directory") {
        key = this.group(i, by);
        top = root.child(key);
        key += "\0";
      }
      const file = new Node(this.names[i], directory(this.parents[i], top, key));
      file.parent.children.set("\0" + i, file);
      for (let node = file; node; node = node.parent) {
        node.size += this.sizes[i]; node.stored += this.stored[i]; node.files++;
      }
    }
    return root;
  }
}

class Node {
  constructor(name, parent) {
    this.name = name; this.parent = parent; this.size = this.stored = this.files = 0;
    this.children = new Map();
  }

  child(name) {
    let node = this.children.get(name);
    if (!node) this.children.set(name, (node = new Node(name, this)));
    return node;
  }

  trail() { return this.parent ? [...this.parent.trail(), this] : [this]; }
  sorted(measure) { return [...this.children.values()].filter((n) => n[measure] > 0).sort((a, b) => b[measure] - a[measure]); }
}

// Squarified treemap (Bruls, Huizing, van Wijk): rows whose cells are as square as can be.
function squarify(values, x, y, width, height) {
  const total = values.reduce((a, b) => a + b, 0), cells = [];
  if (!(total > 0)) return cells;
  const scale = (width * height) / total;
  let row = [], sum = 0, at = 0;
  const worst = (r, s, side) => {
    let most = 0, least = Infinity;
    for (const v of r) { most = Math.max(most, v); least = Math.min(least, v); }
    return Math.max((side * side * most) / (s * s), (s * s) / (side * side * least));
  };
  const lay = () => {
    const across = width >= height, side = across ? height : width, thick = sum / side;
    let offset = 0;
    for (const v of row) {
      const long = v / thick;
      cells.push(across ? [x, y + offset, thick, long] : [x + offset, y, long, thick]);
      offset += long;
    }
    if (across) { x += thick; width -= thick; } else { y += thick; height -= thick; }
    row = []; sum = 0;
  };
  while (at < values.length) {
    const v = values[at] * scale, side = Math.min(width, height);
    if (!row.length || worst([...row, v], sum + v, side) <= worst(row, sum, side)) {
      row.push(v); sum += v; at++;
    } else lay();
  }
  if (row.length) lay();
  return cells;
}

function hue(name) {
  let value = 7;
  for (const c of name) value = (value * 31 + c.codePointAt(0)) >>> 0;
  return value % 360;
}

class Space {
  constructor(files) {
    this.files = files; this.trees = new Map(); this.by = "directory"; this.measure = "size";
    this.map = make("div", { class: "map", role: "group", "aria-label": "Treemap. Arrow keys move, Enter opens, Backspace goes up." });
    this.path = make("nav", { "aria-label": "Path" });
    this.table = make("div", { class: "wide" });
    this.map.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.map);
  }

  select(label, options, name) {
    const select = make("select", { id: `by-${name}`, on: { change: (event) => { this[name] = event.target.value; this.open(this.root()); } } });
    for (const [value, text] of options) select.append(make("option", { value, text }));
    return make("label", {}, `${label} `, select);
  }

  section() {
    const groups = [["directory", "directory"], ["layer", "layer"], ["kind", "file kind"], ["package", "package"]];
    const tools = make("div", { class: "tools" }, this.select("By", groups, "by"),
      this.select("Size", [["size", "as programs see it"], ["stored", "stored, compressed"]], "measure"));
    this.open(this.root());
    return section("space", "Where the space goes", tools, this.path, this.map, this.table);
  }

  root() {
    if (!this.trees.has(this.by)) this.trees.set(this.by, this.files.tree(this.by));
    return this.trees.get(this.by);
  }

  open(node, focus) {
    this.node = node;
    this.path.replaceChildren(...node.trail().flatMap((each, i) => {
      const here = each === node;
      const button = make("button", { type: "button", text: each.name || (this.by === "directory" ? "/" : "all"), "aria-current": here && "location", on: { click: () => this.open(each, true) } });
      return i > 1 ? [make("span", { class: "soft", text: "/" }), button] : [button];
    }));
    this.draw();
    this.list();
    if (focus) (this.map.querySelector("button") || this.path.lastChild).focus();
  }

  draw() {
    const width = this.map.clientWidth, height = this.map.clientHeight, measure = this.measure;
    if (!width || !this.node) return;
    const shown = this.node.sorted(measure).slice(0, CELLS);
    const cells = squarify(shown.map((n) => n[measure]), 0, 0, width, height);
    const nodes = [];
    shown.forEach((child, i) => {
      const [x, y, w, h] = cells[i];
      if (w < LEAST || h < LEAST) return;
      const told = `${child.name}: ${bytes(child[measure])}, ${percent(child[measure], this.node[measure])}, ${plural(child.files, "file")}`;
      const cell = make("button", { type: "button", tabindex: nodes.length ? "-1" : "0", title: told, "aria-label": told, on: { click: () => child.children.size && this.open(child, true) } });
      place(cell, x, y, w, h);
      cell.style.background = `hsl(${hue(child.name)} var(--rich) var(--light))`;
      if (w > 40 && h > 16) cell.append(make("span", { class: "label", "aria-hidden": "true", text: child.name }));
      this.inside(child, cell, w - 2, h - 2, 1);
      nodes.push(cell);
    });
    this.map.replaceChildren(...nodes);
  }

  // What is in a directory, below its name; as deep as there is room.
  inside(node, cell, width, height, depth) {
    if (width < 60 || height < 50 || depth > DEPTH) return;
    const shown = node.sorted(this.measure).slice(0, 60);
    const cells = squarify(shown.map((n) => n[this.measure]), 2, 17, width - 4, height - 19);
    shown.forEach((child, i) => {
      const [x, y, w, h] = cells[i];
      if (w < LEAST || h < LEAST) return;
      const inner = make("span", { class: "inner", "aria-hidden": "true" });
      place(inner, x, y, w, h);
      inner.style.background = `hsl(${hue(child.name)} var(--rich) var(--light))`;
      if (w > 40 && h > 14) inner.append(make("span", { class: "label", text: child.name }));
      this.inside(child, inner, w - 2, h - 2, depth + 1);
      cell.append(inner);
    });
  }

  list() {
    const rows = this.node.sorted(this.measure), whole = this.node[this.measure];
    this.table.replaceChildren(table(["name", "size", "stored", "", "files"], rows, (child) => {
      const name = child.children.size
        ? make("button", { type: "button", text: child.name, on: { click: () => this.open(child, true) } })
        : child.name;
      return [name, bytes(child.size), bytes(child.stored), bar(child[this.measure], whole), count(child.files)];
    }, [1, 2, 4], 15));
  }

  key(event) {
    const cells = [...this.map.querySelectorAll("button")], at = cells.indexOf(document.activeElement);
    if (event.key === "Backspace" || event.key === "Escape") {
      if (this.node.parent) this.open(this.node.parent, true);
    } else if (event.key.startsWith("Arrow") && at >= 0) {
      const next = nearest(cells, at, event.key) ?? at;
      cells[at].tabIndex = -1;
      cells[next].tabIndex = 0;
      cells[next].focus();
    } else return;
    event.preventDefault();
  }
}

function place(node, x, y, w, h) {
  Object.assign(node.style, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });
}

// The cell that is closest in the direction of an arrow key.
function nearest(cells, at, key) {
  const middle = (cell) => { const r = cell.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; };
  const [x, y] = middle(cells[at]), across = key === "ArrowLeft" || key === "ArrowRight";
  const sign = key === "ArrowLeft" || key === "ArrowUp" ? -1 : 1;
  let best = null, least = Infinity;
  cells.forEach((cell, i) => {
    const [cx, cy] = middle(cell);
    const ahead = sign * (across ? cx - x : cy - y), aside = Math.abs(across ? cy - y : cx - x);
    if (i !== at && ahead > 1 && ahead + 3 * aside < least) { least = ahead + 3 * aside; best = i; }
  });
  return best;
}

function bar(part, whole) {
  const inner = make("i"), share = whole ? part / whole : 0;
  inner.style.width = `${100 * share}%`;
  return make("span", {}, make("span", { class: "bar", "aria-hidden": "true" }, inner), ` ${percent(part, whole)}`);
}

function section(id, title, ...children) {
  return make("section", { id, "aria-labelledby": `${id}-title` }, make("h2", { id: `${id}-title`, text: title }), ...children);
}

// A table of the first rows, and a button for more.
function table(headers, rows, cells, numbers = [], most = MANY) {
  const body = make("tbody"), box = make("div");
  const cell = (tag, i, content) => make(tag, { class: numbers.includes(i) && "n", scope: tag === "th" && "col" }, content ?? "");
  const head = make("thead", {}, make("tr", {}, ...headers.map((text, i) => cell("th", i, text))));
  let shown = 0;
  const more = make("button", { type: "button", on: { click: () => add(MANY) } });
  const add = (number) => {
    const next = rows.slice(shown, shown + number);
    body.append(...next.map((row) => make("tr", {}, ...cells(row).map((content, i) => cell("td", i, content)))));
    shown += next.length;
    more.textContent = `Show more (${count(shown)} of ${count(rows.length)})`;
    more.hidden = shown >= rows.length;
  };
  add(most);
  box.append(make("div", { class: "wide" }, make("table", {}, head, body)), more);
  return box;
}

// A table that is searched by a text of its rows.
function searched(id, label, headers, rows, text, cells, numbers) {
  const place = make("div"), told = make("span", { class: "soft", role: "status" });
  const input = make("input", { id: `${id}-search`, type: "search", spellcheck: "false", autocomplete: "off" });
  let timer;
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = words.length ? rows.filter((row) => { const t = text(row).toLowerCase(); return words.every((w) => t.includes(w)); }) : rows;
    told.textContent = `${count(found.length)} of ${count(rows.length)}`;
    place.replaceChildren(table(headers, found, cells, numbers, 20));
  };
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(show, 120); });
  show();
  return [make("div", { class: "tools" }, make("label", {}, `${label} `, input), told), place];
}

function facts(entries) {
  return make("div", { class: "wide" }, make("table", {}, make("tbody", {}, ...entries.filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length)).map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row", text: name }), make("td", {}, ...lines(value)))))));
}

function lines(value) {
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value.flatMap((each, i) => (i ? [make("br"), make("code", { text: each })] : [make("code", { text: each })]));
  return [make("code", { text: typeof value === "string" ? value : JSON.stringify(value) })];
}

function configuration(image) {
  const entries = Object.entries(image).filter(([name]) => name !== "labels").map(([name, value]) => [name, name === "size" && value ? bytes(value) : value]);
  const labels = Object.entries(image.labels || {}).map(([name, value]) => `${name}=${value}`);
  return section("config", "Configuration", facts([...entries, ["labels", labels]]));
}

function history(steps, files) {
  const named = new Map(files.layerNames.map(([digest], i) => [digest, i]));
  const held = new Array(files.layerNames.length).fill(0), isKnown = files.layers.some((layer) => layer >= 0);
  files.layers.forEach((layer, i) => { if (layer >= 0) held[layer] += files.sizes[i]; });
  const body = table(["layer", "compressed", "holds", "wasted", "created", "created by"], steps, (step) => {
    const digest = (step.diff_id || "").slice(7, 19), number = named.get(digest);
    const wasted = files.waste && number !== undefined ? bytes(files.waste.byLayer[number]) : "";
    return [make("code", { text: digest }), step.diff_id ? bytes(step.size) : "", number === undefined ? "" : isKnown ? bytes(held[number]) : "?",
      wasted, (step.created || "").slice(0, 19), make("code", { text: step.created_by })];
  }, [1, 2, 3], 200);
  return section("history", "History", body);
}

function waste(files) {
  const found = files.waste, twice = files.duplicates, parts = [];
  if (found) {
    parts.push(make("p", { text: found.files ? `${plural(found.files, "file")} of ${bytes(found.bytes)} are in a layer, but were removed or replaced by a later one.` : "No layer removes or replaces files of another." }));
    if (found.files) parts.push(table(["file", "size", "in layer", "removed by"], found.listed, ([path, size, layer, by]) => [path, bytes(size), files.layer(layer), by < 0 ? "" : files.layer(by)], [1], 20));
  } else parts.push(make("p", { class: "soft", text: "An executable does not keep what later layers removed: inspect the image to see that." }));
  parts.push(make("p", { text: twice.groups ? `Equal files take ${bytes(twice.bytes)} more than one of each would (${plural(twice.groups, "group")}). An executable stores their data once.` : "No two files are equal." }));
  if (twice.groups) parts.push(table(["size", "copies", "files"], twice.listed, ([size, copies, paths]) => [bytes(size), count(copies), make("span", {}, ...paths.flatMap((path, i) => (i ? [make("br"), path] : [path])))], [0, 1], 10));
  return section("waste", "Waste", ...parts);
}

function largest(files) {
  const rows = [];
  files.sizes.forEach((size, i) => { if (size > 0) rows.push(i); });
  rows.sort((a, b) => files.sizes[b] - files.sizes[a] || a - b);
  const body = searched("files", "Find", ["file", "size", "stored", "package", "layer"], rows, (i) => files.path(i), (i) =>
    [files.path(i), bytes(files.sizes[i]), bytes(files.stored[i]), files.owners[i] < 0 ? "" : files.ownerNames[files.owners[i]], files.digest(files.layers[i])], [1, 2]);
  return section("files", "Largest files", ...body);
}

function packages(files) {
  const body = searched("packages", "Find", ["type", "name", "version", "licenses", "layer", "found in"], files.packages, (p) => p.join(" "), ([kind, name, version, purl, licenses, layer, path]) =>
    [kind, make("span", { title: purl, text: name }), make("span", { class: version.length < 25 && "whole", text: version }), licenses, files.digest(layer), path], []);
  const notes = files.notes.map((note) => make("p", { class: "soft", text: note }));
  return section("packages", "Packages", ...body, ...notes);
}

function signatures(found) {
  if (!found) return null;
  const body = found.length ? found.map((each) => facts(Object.entries(each))) : [make("p", { text: "It is not signed." })];
  return section("signatures", "Signatures", ...body);
}

async function show() {
  const { inspection, history: steps, anatomy } = await read(), files = new Files(anatomy), space = new Space(files);
  const sections = [space.section(), history(steps, files), waste(files), largest(files), packages(files), configuration(inspection.image), signatures(inspection.signatures)].filter(Boolean);
  const links = sections.map((each) => make("a", { href: `#${each.id}`, text: each.firstChild.textContent }));
  $("main").append(make("nav", { class: "sections", "aria-label": "Sections" }, ...links), ...sections);
  space.draw();
  $("status").remove();
}

show().catch((error) => { $("status").textContent = `This page cannot be shown: ${error}. It needs a browser of 2023 or newer.`; });
