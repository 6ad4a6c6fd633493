"use strict";
(() => {
  const model = JSON.parse(document.getElementById("model").textContent);
  const $ = (id) => document.getElementById(id);
  const canvas = document.querySelector("canvas");
  const pen = canvas.getContext("2d");
  const PAD = 14, GAP = 26, LAYER = 34, HEADER = 22;

  // ---- the tree of modules of a graph -------------------------------------------------------------------------

  /** Boxes of a graph: nodes, inputs and outputs as leaves of a tree of modules. */
  function tree(graph) {
    const root = { kind: "module", name: "", path: "", children: [], open: true, parent: null, size: 0, time: 0 };
    const modules = new Map([["", root]]);
    const module = (path) => {
      const known = modules.get(path);
      if (known) return known;
      const cut = path.lastIndexOf("/");
      const parent = module(cut < 0 ? "" : path.slice(0, cut));
      const made = { kind: "module", name: path.slice(cut + 1), path, children: [], open: false, parent, size: 0, time: 0 };
      parent.children.push(made);
      modules.set(path, made);
      return made;
    };
    const leaves = [];
    const leaf = (box, path) => {
      const parent = module(path);
      box.parent = parent;
      parent.children.push(box);
      leaves.push(box);
      for (let m = parent; m; m = m.parent) { m.size += 1; m.time += box.time || 0; }
      return box;
    };
    const maker = new Map();
    for (const v of graph.inputs) maker.set(v, leaf({ kind: "input", value: v, label: graph.values[v].n, op: "input" }, ""));
    graph.nodes.forEach((node, i) => {
      const box = leaf({ kind: "node", index: i, node, label: node.s, op: model.ops[node.o], time: node.t || 0 }, node.m);
      for (const v of node.u) if (v >= 0) maker.set(v, box);
    });
    const edges = [];
    graph.nodes.forEach((node, i) => {
      const to = leaves[graph.inputs.length + i];
      for (const v of node.i) {
        const from = maker.get(v);
        if (from) edges.push([from, to, v]);
      }
    });
    for (const v of graph.outputs) {
      const to = leaf({ kind: "output", value: v, label: graph.values[v].n, op: "output" }, "");
      const from = maker.get(v);
      if (from) edges.push([from, to, v]);
    }
    // A module with a single child module says no more than that.
    return { root, leaves, edges, maker, graph };
  }

  // ---- layout: each open module by itself, in layers -----------------------------------------------------------

  function measure(box) {
    if (box.kind === "module") {
      const name = box.name.length > 34 ? box.name.slice(0, 33) + "…" : box.name;
      box.title = name;
      box.w = Math.max(130, name.length * 7.4 + 30);
      box.h = 44;
    } else {
      const label = box.label.length > 26 ? "…" + box.label.slice(-25) : box.label;
      box.title = label;
      box.w = Math.max(96, box.op.length * 7.8 + 24, label.length * 6 + 20);
      box.h = 40;
    }
  }

  /** Where an edge ends within a module: the child of it that holds a box. */
  function childOf(module, box) {
    while (box && box.parent !== module) box = box.parent;
    return box;
  }

  function layout(view) {
    // The edges of each open module: between its children, each pair once.
    const between = new Map();
    for (const [from, to] of view.edges) {
      const ancestors = new Set();
      for (let m = from.parent; m; m = m.parent) ancestors.add(m);
      let common = to.parent;
      while (!ancestors.has(common)) common = common.parent;
      const a = childOf(common, from), b = childOf(common, to);
      if (a === b) continue;
      if (!between.has(common)) between.set(common, new Map());
      const own = between.get(common);
      if (!own.has(a)) own.set(a, new Set());
      own.get(a).add(b);
    }
    // Deepest first, without recursion: nesting comes from names.
    const order = [view.root];
    for (let i = 0; i < order.length; i++) {
      if (order[i].open) for (const child of order[i].children) if (child.kind === "module") order.push(child);
    }
    for (const module of order.reverse()) {
      if (!module.open) { measure(module); continue; }
      for (const child of module.children) if (child.kind !== "module") measure(child);
      layers(module, between.get(module) || new Map());
    }
    // Places within modules become places on the page.
    const walk = [view.root];
    view.root.x = 0; view.root.y = 0;
    view.boxes = []; view.frames = [];
    while (walk.length) {
      const module = walk.pop();
      for (const child of module.children) {
        child.x = module.x + child.dx;
        child.y = module.y + child.dy;
        if (child.kind === "module" && child.open) { walk.push(child); view.frames.push(child); }
        else view.boxes.push(child);
      }
    }
    view.frames.sort((a, b) => b.w * b.h - a.w * a.h);
    view.shown = new Map();
    for (const leaf of view.leaves) view.shown.set(leaf, outermost(leaf) || leaf);
    const seen = new Map();
    view.lines = [];
    for (const [from, to, value] of view.edges) {
      const a = view.shown.get(from), b = view.shown.get(to);
      if (a === b) continue;
      let targets = seen.get(a);
      if (!targets) seen.set(a, targets = new Set());
      if (targets.has(b)) continue;
      targets.add(b);
      view.lines.push({ a, b, value });
    }
  }

  function layers(module, next) {
    const boxes = module.children;
    const index = new Map(boxes.map((b, i) => [b, i]));
    const n = boxes.length;
    const out = boxes.map((b) => [...(next.get(b) || [])].map((t) => index.get(t)));
    // Closed modules may lead in circles: edges against the order of a depth-first walk do not count.
    const state = new Uint8Array(n), forward = out.map(() => []), order = [];
    for (let s = 0; s < n; s++) {
      if (state[s]) continue;
      const stack = [[s, 0]];
      state[s] = 1;
      while (stack.length) {
        const top = stack[stack.length - 1];
        if (top[1] < out[top[0]].length) {
          const t = out[top[0]][top[1]++];
          if (state[t] !== 1) forward[top[0]].push(t);
          if (state[t] === 0) { state[t] = 1; stack.push([t, 0]); }
        } else { state[top[0]] = 2; order.push(top[0]); stack.pop(); }
      }
    }
    order.reverse();
    const level = new Int32Array(n), back = out.map(() => []);
    for (const i of order) for (const t of forward[i]) { level[t] = Math.max(level[t], level[i] + 1); back[t].push(i); }
    // What has nothing before it stands right above what reads it; outputs stand last.
    let depth = 0;
    for (let i = 0; i < n; i++) depth = Math.max(depth, level[i]);
    for (let k = order.length - 1; k >= 0; k--) {
      const i = order[k];
      if (!back[i].length && forward[i].length) level[i] = Math.max(0, Math.min(...forward[i].map((t) => level[t])) - 1);
    }
    for (let i = 0; i < n; i++) if (boxes[i].kind === "output") level[i] = Math.max(level[i], depth);
    const rows = [];
    for (const i of order) (rows[level[i]] = rows[level[i]] || []).push(i);
    const full = rows.filter(Boolean);
    // Order within layers by the mean place of neighbours, down and up a few times.
    const place = new Float64Array(n);
    const settle = (row) => row.forEach((i, k) => { place[i] = k - (row.length - 1) / 2; });
    full.forEach(settle);
    const mean = (list) => list.reduce((s, i) => s + place[i], 0) / list.length;
    for (let round = 0; round < 6; round++) {
      const down = round % 2 === 0;
      for (const row of down ? full : [...full].reverse()) {
        if (row.length < 2) continue;
        const key = new Map(row.map((i) => [i, (down ? back[i] : forward[i]).length ? mean(down ? back[i] : forward[i]) : place[i]]));
        row.sort((p, q) => key.get(p) - key.get(q));
        settle(row);
      }
    }
    // Across: wish for the middle of neighbours, keep the order and the gaps.
    const x = new Float64Array(n);
    for (const row of full) {
      let at = 0;
      for (const i of row) { x[i] = at + boxes[i].w / 2; at += boxes[i].w + GAP; }
      for (const i of row) x[i] -= (at - GAP) / 2;
    }
    const spread = (row, wish) => {
      let start = 0;
      const groups = [];
      for (const i of row) {
        let group = { members: [i], width: boxes[i].w, sum: wish(i) - boxes[i].w / 2, count: 1 };
        group.left = group.sum;
        while (groups.length && groups[groups.length - 1].left + groups[groups.length - 1].width + GAP > group.left) {
          const before = groups.pop();
          const shift = before.width + GAP;
          group = { members: before.members.concat(group.members), width: shift + group.width,
            sum: before.sum + group.sum - shift * group.count, count: before.count + group.count };
          group.left = group.sum / group.count;
        }
        groups.push(group);
      }
      for (const group of groups) {
        let at = group.left;
        for (const i of group.members) { x[i] = at + boxes[i].w / 2; at += boxes[i].w + GAP; }
      }
      return start;
    };
    const across = (list, i) => list.length ? list.reduce((s, k) => s + x[k], 0) / list.length : x[i];
    for (let round = 0; round < 4; round++) {
      const down = round % 2 === 0;
      for (const row of down ? full : [...full].reverse()) spread(row, (i) => across(down ? back[i] : forward[i], i));
    }
    let left = Infinity, right = -Infinity, y = module.parent ? HEADER + PAD : 0;
    for (const row of full) {
      const height = Math.max(...row.map((i) => boxes[i].h));
      for (const i of row) {
        boxes[i].dy = y + (height - boxes[i].h) / 2;
        left = Math.min(left, x[i] - boxes[i].w / 2);
        right = Math.max(right, x[i] + boxes[i].w / 2);
      }
      y += height + LAYER;
    }
    if (!n) { left = 0; right = 100; }
    const pad = module.parent ? PAD : 0;
    let wide = right - left + 2 * pad;
    const title = module.parent ? module.name.length * 7.4 + 40 : 0;
    const extra = Math.max(0, title - wide) / 2;
    boxes.forEach((b, i) => { b.dx = x[i] - b.w / 2 - left + pad + extra; });
    module.w = wide + 2 * extra;
    module.h = y - LAYER + pad;
  }

  // ---- state ---------------------------------------------------------------------------------------------------

  const views = model.graphs.map(() => null);
  let view = null, shown = 0, zoom = 1, panX = 0, panY = 0, heat = false, selected = null, marked = new Set();

  function viewOf(i) {
    if (!views[i]) {
      views[i] = tree(model.graphs[i]);
      const v = views[i];
      // Modules stay closed where all nodes together would be too many to read.
      const all = v.leaves.length;
      const open = [v.root];
      let visible = v.root.children.length;
      if (all <= 120) { for (let k = 0; k < open.length; k++) for (const c of open[k].children) if (c.kind === "module") { c.open = true; open.push(c); } }
      else {
        while (open.length) {
          const m = open.shift();
          for (const c of m.children) {
            if (c.kind !== "module") continue;
            if (visible + c.children.length <= 60 || c.children.length === 1 || m.children.length === 1) { c.open = true; visible += c.children.length - 1; open.push(c); }
          }
        }
        // A single closed box says nothing.
        for (let closed; visible < 8 && (closed = v.leaves.map((l) => outermost(l)).find((m) => m)); ) {
          closed.open = true;
          visible += closed.children.length - 1;
        }
      }
      layout(v);
    }
    return views[i];
  }

  /** The outermost closed module that a box is in. */
  function outermost(box) {
    let found = null;
    for (let m = box.parent; m; m = m.parent) if (!m.open) found = m;
    return found;
  }

  function showGraph(i) {
    shown = i;
    view = viewOf(i);
    select(null);
    trail();
    fit();
  }

  function trail() {
    const way = [];
    for (let i = shown; i >= 0; i = model.graphs[i].parent) way.unshift(i);
    $("trail").replaceChildren(...(way.length < 2 ? [] : way.map((i) => {
      const b = document.createElement("button");
      b.textContent = model.graphs[i].name || "model";
      b.onclick = () => showGraph(i);
      return b;
    })));
  }

  function relayout(keep) {
    const before = keep && { x: keep.x + keep.w / 2, y: keep.y };
    layout(view);
    if (before) {
      panX += (before.x - keep.x - keep.w / 2) * zoom;
      panY += (before.y - keep.y) * zoom;
    }
    draw();
  }

  function setAll(open) {
    const walk = [view.root];
    while (walk.length) for (const c of walk.pop().children) if (c.kind === "module") { c.open = open; walk.push(c); }
    layout(view);
    fit();
  }

  // ---- drawing -------------------------------------------------------------------------------------------------

  let colors = {};
  function readColors() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["back", "paper", "ink", "soft", "line", "edge", "accent", "module", "module-line", "port", "hit"]) {
      colors[name] = style.getPropertyValue("--" + name).trim();
    }
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColors(); draw(); });

  const most = () => Math.max(1e-9, ...view.leaves.map((l) => l.time || 0));
  /** White to red, by the share of the slowest node; roots show what is small. */
  function warm(time, top) {
    const s = Math.min(1, Math.sqrt(time / top));
    return `hsl(${52 - 52 * s} 95% ${94 - 44 * s}%)`;
  }

  function hue(op) {
    let h = 7;
    for (let i = 0; i < op.length; i++) h = (h * 31 + op.charCodeAt(i)) % 360;
    return h;
  }

  let queued = false;
  function draw() {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => { queued = false; paint(); });
  }

  function rounded(x, y, w, h, r) {
    pen.beginPath();
    pen.roundRect(x, y, w, h, r);
  }

  function paint() {
    const ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = colors.back;
    pen.fillRect(0, 0, width, height);
    pen.translate(panX, panY);
    pen.scale(zoom, zoom);
    const x0 = -panX / zoom, y0 = -panY / zoom, x1 = x0 + width / zoom, y1 = y0 + height / zoom;
    const inside = (b) => b.x < x1 && b.x + b.w > x0 && b.y < y1 && b.y + b.h > y0;
    for (const m of view.frames) {
      if (!inside(m)) continue;
      rounded(m.x, m.y, m.w, m.h, 10);
      pen.fillStyle = colors.module;
      pen.fill();
      pen.lineWidth = m === selected ? 2.5 : 1;
      pen.strokeStyle = m === selected ? colors.accent : colors["module-line"];
      pen.stroke();
      if (zoom > 0.18) {
        pen.fillStyle = colors.soft;
        pen.font = "12px system-ui, sans-serif";
        pen.textAlign = "left";
        pen.fillText("− " + m.name, m.x + 10, m.y + 17);
      }
    }
    pen.lineWidth = Math.max(1, 0.7 / zoom);
    const line = ({ a, b }) => {
      const ax = a.x + a.w / 2, ay = a.y + a.h, bx = b.x + b.w / 2, by = b.y;
      if (Math.max(ay, by) < y0 || Math.min(ay, by) > y1 || Math.max(ax, bx) < x0 - 200 || Math.min(ax, bx) > x1 + 200) return;
      const bend = Math.max(14, Math.min(80, Math.abs(by - ay) / 2));
      pen.beginPath();
      pen.moveTo(ax, ay);
      pen.bezierCurveTo(ax, ay + bend, bx, by - bend, bx, by);
      pen.stroke();
      if (zoom > 0.35) {
        pen.beginPath();
        pen.moveTo(bx - 3.5, by - 6); pen.lineTo(bx, by); pen.lineTo(bx + 3.5, by - 6);
        pen.stroke();
      }
    };
    pen.strokeStyle = colors.edge;
    const own = [];
    for (const l of view.lines) (selected && (l.a === selected || l.b === selected) ? own.push(l) : line(l));
    const top = heat ? most() : 1;
    for (const b of view.boxes) {
      if (!inside(b)) continue;
      const closed = b.kind === "module";
      rounded(b.x, b.y, b.w, b.h, b.kind === "node" ? 6 : closed ? 8 : 20);
      const port = b.kind === "input" || b.kind === "output";
      pen.fillStyle = heat && !port ? warm(b.time || 0, top) : port ? colors.port : colors.paper;
      pen.fill();
      const hit = marked.has(b);
      pen.lineWidth = b === selected || hit ? 3 : 1.2;
      pen.strokeStyle = b === selected ? colors.accent : hit ? colors.hit : colors["module-line"];
      pen.stroke();
      if (zoom < 0.16) continue;
      if (b.kind === "node" && !heat) {
        pen.fillStyle = `hsl(${hue(b.op)} 55% 50%)`;
        pen.fillRect(b.x + 1, b.y + 6, 4, b.h - 12);
      }
      pen.textAlign = "center";
      const hot = heat && Math.sqrt((b.time || 0) / top) > 0.7;
      pen.fillStyle = hot ? "#ffffff" : heat && !port ? "#1d2329" : colors.ink;
      pen.font = "600 13px system-ui, sans-serif";
      pen.fillText(closed ? "+ " + b.title : b.op, b.x + b.w / 2, b.y + 17);
      if (zoom < 0.3) continue;
      pen.font = "11px system-ui, sans-serif";
      pen.fillStyle = hot ? "#ffffff" : heat && !port ? "#4a535c" : colors.soft;
      const second = heat && b.time ? milliseconds(b.time) : closed ? `${b.size} nodes` : b.title;
      pen.fillText(second, b.x + b.w / 2, b.y + 32);
    }
    pen.strokeStyle = colors.accent;
    pen.lineWidth = Math.max(2, 1.2 / zoom);
    own.forEach(line);
    $("where").textContent = `${view.boxes.length} boxes, ${Math.round(zoom * 100)} %`;
  }

  const milliseconds = (t) => (t >= 100 ? t.toFixed(0) : t >= 1 ? t.toFixed(2) : (t * 1000).toFixed(1) + " µs") + (t >= 1 ? " ms" : "");

  function fit() {
    const width = canvas.clientWidth, height = canvas.clientHeight;
    const r = view.root;
    zoom = Math.min(1.2, (width - 60) / Math.max(1, r.w), (height - 60) / Math.max(1, r.h));
    // A long chain is shown from its beginning, at a size that can be read.
    if (zoom < 0.3) {
      zoom = Math.max(Math.min(0.6, (width - 60) / r.w), Math.min(0.3, zoom * 6), zoom);
      panX = (width - r.w * zoom) / 2;
      const first = view.boxes.reduce((a, b) => (b.y < a.y ? b : a), view.boxes[0]);
      if (r.w * zoom > width) panX = width / 2 - (first.x + first.w / 2) * zoom;
      panY = 40;
    } else {
      panX = (width - r.w * zoom) / 2;
      panY = Math.max(30, (height - r.h * zoom) / 2);
    }
    draw();
  }

  function center(box) {
    zoom = Math.max(zoom, 0.7);
    panX = canvas.clientWidth / 2 - (box.x + box.w / 2) * zoom;
    panY = canvas.clientHeight / 2 - (box.y + box.h / 2) * zoom;
    draw();
  }

  // ---- details -------------------------------------------------------------------------------------------------

  const el = (name, text, ...children) => {
    const e = document.createElement(name);
    if (text != null) e.textContent = text;
    e.append(...children);
    return e;
  };

  function pairs(list) {
    const dl = el("dl");
    for (const [k, v] of list) dl.append(el("dt", k), v instanceof Node ? el("dd", null, v) : el("dd", v));
    return dl;
  }

  function link(text, act) {
    const a = el("a", text);
    a.tabIndex = 0;
    a.onclick = act;
    a.onkeydown = (e) => { if (e.key === "Enter") act(); };
    return a;
  }

  function weight(v, c) {
    const card = el("div", null);
    card.className = "weight";
    card.append(el("div", `${v.n || "constant"}`), Object.assign(el("div", `${v.t}, ${c.b}`), { className: "soft" }));
    if (c.v) card.append(el("div", c.v));
    if (c.s) {
      card.append(pairs([["least", c.s[0]], ["largest", c.s[1]], ["mean", c.s[2]], ["deviation", c.s[3]], ["zeros", c.s[4]]]));
      const top = Math.max(1, ...c.h);
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", `0 0 ${c.h.length} 40`);
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("role", "img");
      svg.setAttribute("aria-label", "how the values are spread from the least to the largest");
      c.h.forEach((n, i) => {
        const r = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        const h = n ? Math.max(1, 40 * n / top) : 0;
        r.setAttribute("x", i + 0.05); r.setAttribute("y", 40 - h); r.setAttribute("width", 0.9); r.setAttribute("height", h);
        svg.append(r);
      });
      card.append(svg);
    }
    return card;
  }

  function valueRow(v) {
    const value = view.graph.values[v];
    if (value.c >= 0) return weight(value, model.constants[value.c]);
    const maker = view.maker.get(v);
    const row = el("p", null);
    row.append(maker ? link(value.n || "(unnamed)", () => reveal(maker)) : document.createTextNode(value.n || "(unnamed)"));
    row.append(Object.assign(el("span", " " + (value.t || "unknown type")), { className: "soft" }));
    return row;
  }

  function select(box) {
    selected = box;
    const side = $("details");
    side.scrollTop = 0;
    side.replaceChildren();
    if (!box) { overview(side); draw(); return; }
    if (box.kind === "module") {
      side.append(el("h2", box.name), el("p", "module " + box.path));
      const ops = new Map();
      const walk = [box];
      while (walk.length) for (const c of walk.pop().children) {
        if (c.kind === "module") walk.push(c); else ops.set(c.op, (ops.get(c.op) || 0) + 1);
      }
      side.append(pairs([["nodes", String(box.size)], ...(model.profile ? [["time", milliseconds(box.time)]] : [])]));
      const open = el("button", box.open ? "Close" : "Open");
      open.onclick = () => toggle(box);
      side.append(el("p", null, open), el("h3", "Operators"));
      side.append(pairs([...ops].sort((a, b) => b[1] - a[1]).map(([k, n]) => [k, String(n)])));
      draw();
      return;
    }
    const graph = view.graph;
    if (box.kind !== "node") {
      side.append(el("h2", box.label), el("p", box.kind), valueRow(box.value));
      const readers = view.edges.filter((e) => e[2] === box.value && e[1].kind === "node").map((e) => e[1]);
      if (box.kind === "input" && readers.length) side.append(el("h3", "Read by"), ...readers.map((r) => el("p", null, link(r.op + " " + r.label, () => reveal(r)))));
      draw();
      return;
    }
    const node = box.node;
    side.append(el("h2", box.op), el("p", node.n || "(unnamed)"));
    const facts = [];
    if (node.d) facts.push(["domain", node.d]);
    if (node.m) facts.push(["module", node.m]);
    if (node.t != null && model.profile) facts.push(["time", `${milliseconds(node.t)} (${(100 * node.t / model.profile.total).toFixed(1)} %)`]);
    side.append(pairs(facts));
    const attributes = Object.entries(node.a || {});
    if (attributes.length) side.append(el("h3", "Attributes"), pairs(attributes));
    if (node.b && node.b.length) {
      side.append(el("h3", "Bodies"), ...node.b.map((g) => el("p", null, link(`${model.graphs[g].name} (${model.graphs[g].nodes.length} nodes)`, () => showGraph(g)))));
    }
    side.append(el("h3", "Inputs"), ...node.i.filter((v) => v >= 0).map(valueRow));
    side.append(el("h3", "Outputs"));
    for (const v of node.u) {
      if (v < 0) continue;
      side.append(valueRow(v));
      const readers = view.edges.filter((e) => e[2] === v).map((e) => e[1]);
      if (readers.length) side.append(Object.assign(el("p", "read by "), { className: "soft" }));
      readers.slice(0, 12).forEach((r) => side.append(el("p", null, link(`${r.op} ${r.label}`, () => reveal(r)))));
    }
    if (node.p) side.append(el("h3", "Passes"), ...node.p.map((p) => el("p", `${model.passes[p].name}: ${model.passes[p].doc}`)));
    draw();
  }

  function overview(side) {
    side.append(el("h2", model.title), el("p", model.about));
    side.append(el("h3", "Inputs"), ...view.graph.inputs.map(valueRow));
    side.append(el("h3", "Outputs"), ...view.graph.outputs.map(valueRow));
    const ops = new Map();
    for (const n of view.graph.nodes) ops.set(model.ops[n.o], (ops.get(model.ops[n.o]) || 0) + 1);
    side.append(el("h3", `${view.graph.nodes.length} nodes`));
    if (view.graph.held) side.append(Object.assign(el("p", `and ${view.graph.held} that only give out constants, shown where those are read`), { className: "soft" }));
    side.append(pairs([...ops].sort((a, b) => b[1] - a[1]).map(([k, n]) => [k, link(String(n), () => { $("search").value = k; search(); $("search").focus(); })])));
    if (model.profile) side.append(el("h3", "Run"), el("p", model.profile.note));
    else if (model.noProfile) side.append(el("h3", "Run"), el("p", model.noProfile));
  }

  function showPasses() {
    selected = null;
    const side = $("details");
    side.replaceChildren(el("h2", "What each pass does"), el("p", model.passNote));
    const table = el("table");
    model.passes.forEach((pass, p) => {
      if (!pass.count) return;
      const row = el("tr", null, el("td", String(pass.count)), el("td", null, link(pass.name, () => {
        marked = new Set(view.leaves.filter((l) => l.node && l.node.p && l.node.p.includes(p)).map((l) => view.shown.get(l)));
        draw();
      }), el("div", pass.doc)));
      table.append(row);
    });
    side.append(table, Object.assign(el("p", "Click a pass to mark the nodes it changes."), { className: "soft" }));
    draw();
  }

  function toggle(module) {
    module.open = !module.open;
    relayout(module);
    select(module);
  }

  /** Opens what holds a box, goes there and selects it. */
  function reveal(box) {
    let changed = false;
    for (let m = box.parent; m; m = m.parent) if (!m.open) { m.open = true; changed = true; }
    if (changed) layout(view);
    select(box);
    center(box);
  }

  // ---- search --------------------------------------------------------------------------------------------------

  let found = [], chosen = -1;
  function search() {
    const words = $("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    marked = new Set();
    found = [];
    chosen = -1;
    if (words.length) {
      for (const leaf of view.leaves) {
        const names = leaf.node ? [leaf.op, leaf.node.n, ...leaf.node.u.filter((v) => v >= 0).map((v) => view.graph.values[v].n)] : [leaf.label];
        const text = names.join(" ").toLowerCase();
        if (words.every((w) => text.includes(w))) found.push(leaf);
      }
      for (const leaf of found) marked.add(view.shown.get(leaf));
    }
    const list = $("hits");
    list.hidden = !words.length;
    list.replaceChildren(...found.slice(0, 200).map((leaf, i) => {
      const li = el("li", null, document.createTextNode(leaf.op + " "), el("span", leaf.node ? leaf.node.n || leaf.label : leaf.label));
      li.onclick = () => pick(i);
      return li;
    }));
    if (words.length && !found.length) list.append(el("li", "nothing has such a name"));
    if (found.length > 200) list.append(el("li", `and ${found.length - 200} more`));
    draw();
  }

  function pick(i) {
    if (!found[i]) return;
    $("hits").hidden = true;
    reveal(found[i]);
  }

  function choose(i) {
    const items = [...$("hits").children];
    chosen = Math.max(0, Math.min(items.length - 1, i));
    items.forEach((li, k) => li.setAttribute("aria-selected", String(k === chosen)));
    if (items[chosen]) items[chosen].scrollIntoView({ block: "nearest" });
  }

  $("search").addEventListener("input", search);
  $("search").addEventListener("keydown", (e) => {
    if (e.key === "Enter") pick(Math.max(0, chosen));
    else if (e.key === "ArrowDown") { choose(chosen + 1); e.preventDefault(); }
    else if (e.key === "ArrowUp") { choose(chosen - 1); e.preventDefault(); }
    else if (e.key === "Escape") { $("search").value = ""; search(); canvas.focus(); }
  });

  // ---- pointer and keys ----------------------------------------------------------------------------------------

  function boxAt(px, py) {
    const x = (px - panX) / zoom, y = (py - panY) / zoom;
    const within = (b) => x >= b.x && x <= b.x + b.w && y >= b.y && y <= b.y + b.h;
    const box = view.boxes.find(within);
    if (box) return box;
    for (let i = view.frames.length - 1; i >= 0; i--) if (within(view.frames[i])) return view.frames[i];
    return null;
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (e) => {
    drag = { x: e.clientX, y: e.clientY, panX, panY, moved: false };
    if (e.isTrusted) canvas.setPointerCapture(e.pointerId);
    $("hits").hidden = true;
  });
  canvas.addEventListener("pointermove", (e) => {
    if (!drag) return;
    const dx = e.clientX - drag.x, dy = e.clientY - drag.y;
    if (Math.abs(dx) + Math.abs(dy) > 4) drag.moved = true;
    if (drag.moved) {
      canvas.classList.add("dragging");
      panX = drag.panX + dx; panY = drag.panY + dy;
      draw();
    }
  });
  canvas.addEventListener("pointerup", (e) => {
    const was = drag;
    drag = null;
    canvas.classList.remove("dragging");
    if (!was || was.moved) return;
    const frame = canvas.getBoundingClientRect();
    const y = e.clientY - frame.top;
    const box = boxAt(e.clientX - frame.left, y);
    marked = new Set();
    // The title of an open module closes it.
    if (box && box.kind === "module" && box.open && (y - panY) / zoom <= box.y + HEADER) toggle(box);
    else select(box);
  });
  canvas.addEventListener("dblclick", (e) => {
    const frame = canvas.getBoundingClientRect();
    const box = boxAt(e.clientX - frame.left, e.clientY - frame.top);
    if (box && box.kind === "module" && !box.open) toggle(box);
    else if (box && box.node && box.node.b && box.node.b.length) showGraph(box.node.b[0]);
  });
  canvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    const frame = canvas.getBoundingClientRect();
    const x = e.clientX - frame.left, y = e.clientY - frame.top;
    const to = Math.max(0.02, Math.min(3, zoom * Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0015))));
    panX = x - (x - panX) * to / zoom;
    panY = y - (y - panY) * to / zoom;
    zoom = to;
    draw();
  }, { passive: false });
  document.addEventListener("keydown", (e) => {
    if (e.target.tagName === "INPUT") return;
    const step = 80;
    if (e.key === "/") { $("search").focus(); e.preventDefault(); }
    else if (e.key === "0") fit();
    else if (e.key === "+" || e.key === "=") { zoom = Math.min(3, zoom * 1.2); draw(); }
    else if (e.key === "-") { zoom = Math.max(0.02, zoom / 1.2); draw(); }
    else if (e.key === "ArrowLeft") { panX += step; draw(); }
    else if (e.key === "ArrowRight") { panX -= step; draw(); }
    else if (e.key === "ArrowUp") { panY += step; draw(); }
    else if (e.key === "ArrowDown") { panY -= step; draw(); }
    else if (e.key === "Escape") select(null);
    else if (e.key === "Enter" && selected && selected.kind === "module") toggle(selected);
  });
  $("fit").onclick = fit;
  $("expand").onclick = () => setAll(true);
  $("collapse").onclick = () => setAll(false);
  $("passes").onclick = showPasses;
  $("heat").onclick = () => {
    heat = !heat;
    $("heat").setAttribute("aria-pressed", String(heat));
    const scale = $("scale");
    scale.hidden = !heat;
    if (heat) {
      const top = most();
      scale.firstElementChild.textContent = "0";
      scale.lastElementChild.textContent = milliseconds(top);
      scale.children[1].style.background = `linear-gradient(90deg, ${[0, .05, .2, .5, 1].map((s) => warm(s * top, top) + " " + s * 100 + "%").join(", ")})`;
    }
    draw();
  };
  if (!model.profile) { $("heat").disabled = true; $("heat").title = model.noProfile || "The model was not run"; }
  if (!model.passes.some((p) => p.count)) $("passes").disabled = true;

  document.querySelector("h1").textContent = model.title;
  document.querySelector(".about").textContent = model.about;
  new ResizeObserver(draw).observe($("stage"));
  readColors();
  showGraph(0);

  /** For scripts: where a node stands in the window, what is selected, and how many boxes there are. */
  window.onnxView = {
    place(name) {
      const leaf = view.leaves.find((l) => l.node && l.node.n === name);
      if (!leaf) return null;
      const box = view.shown.get(leaf), frame = canvas.getBoundingClientRect();
      return { x: frame.left + panX + (box.x + box.w / 2) * zoom, y: frame.top + panY + (box.y + box.h / 2) * zoom };
    },
    selected: () => selected && (selected.node ? selected.node.n : selected.path || selected.label),
    boxes: () => view.boxes.length,
    graph: () => shown,
  };
})();
