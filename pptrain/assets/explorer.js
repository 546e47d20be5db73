// The stage of an explorer: draws one scene, plays its frames and links its parts, all without asking the kernel.
// Python sends a `scene` (see nbs/views/41_scenes.ipynb); what the reader points at goes back as `frame` and `selected`.

const SVG = "http://www.w3.org/2000/svg";

function node(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

const range = (n) => Array.from({ length: n }, (_, i) => i);

// ---- tokens: one box each; arrows move along, Enter jumps to the partner ------------------------------------------

function tokenStrip(scene, from, to, pick) {
  const { names, ids, mask, special } = scene.tokens;
  const strip = node("div", { class: "pp-strip", role: "listbox", tabindex: "0", "aria-label": `tokens ${from} to ${to - 1}; arrow keys move` });
  for (let i = from; i < to; i++) {
    const loss = mask[i] === "1";
    strip.append(node("span", {
      class: `pp-token${loss ? " pp-loss" : ""}${special[i] === "1" ? " pp-special" : ""}`, role: "option", "data-i": i,
      title: `position ${i} · id ${ids[i]} · ${loss ? "carries loss" : "context"}`,
      onmouseenter: () => pick(i, false), onclick: () => pick(i, true),
    }, names[i]));
  }
  strip.addEventListener("mouseleave", () => pick(-1, false));
  return strip;
}

function markTokens(root, chosen, lit) {
  for (const box of root.querySelectorAll(".pp-token")) {
    const i = Number(box.dataset.i);
    box.classList.toggle("pp-chosen", i === chosen);
    box.classList.toggle("pp-lit", lit.has(i));
    box.setAttribute("aria-selected", i === chosen);
  }
}

// ---- a cellular automaton: canvas, patches, space-time --------------------------------------------------------------

function paintGrid(canvas, cells, rows, columns, colors) {
  const side = canvas.width / columns, pen = canvas.getContext("2d");
  for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
    pen.fillStyle = colors[cells[y * columns + x]];
    pen.fillRect(Math.round(x * side), Math.round(y * side), Math.ceil(side), Math.ceil(side));
  }
}

function outlinePatches(canvas, grid) {
  if (grid.patch < 2) return;
  const size = canvas.width / grid.columns * grid.patch, pen = canvas.getContext("2d");
  pen.lineWidth = 1; pen.strokeStyle = "rgba(127,127,127,.75)"; pen.beginPath();
  for (let x = size; x < canvas.width - 1; x += size) { pen.moveTo(Math.round(x) + .5, 0); pen.lineTo(Math.round(x) + .5, canvas.height); }
  for (let y = size; y < canvas.height - 1; y += size) { pen.moveTo(0, Math.round(y) + .5); pen.lineTo(canvas.width, Math.round(y) + .5); }
  pen.stroke();
}

function stateLegend(grid) {   // which colour is which state
  return node("div", { class: "pp-legend", role: "img", "aria-label": `${grid.states} states, one colour each` }, node("span", {}, "state"),
    ...range(grid.states).map((k) => node("span", { class: "pp-state" }, node("i", { style: `background:${grid.colors[k]}` }), String(k))));
}

function ringPatch(canvas, index, grid) {
  const side = canvas.width / grid.columns, across = grid.columns / grid.patch, size = grid.patch * side;
  const pen = canvas.getContext("2d"), x = (index % across) * size, y = Math.floor(index / across) * size;
  pen.lineWidth = 5; pen.strokeStyle = "#000"; pen.strokeRect(x + 2, y + 2, size - 4, size - 4);
  pen.lineWidth = 2; pen.strokeStyle = "#fff"; pen.strokeRect(x + 2, y + 2, size - 4, size - 4);
}

function spaceTime(grid) {
  const row = Math.floor(grid.rows / 2), frames = grid.frames;
  const canvas = node("canvas", { class: "pp-time", width: grid.columns * 12, height: frames.length * 12, role: "img",
    "aria-label": `row ${row} over ${frames.length} frames, time runs down` });
  paintGrid(canvas, frames.flatMap((f) => f.slice(row * grid.columns, (row + 1) * grid.columns)), frames.length, grid.columns, grid.colors);
  return canvas;
}

function gridStage(scene, state, redraw) {
  const grid = scene.grid, count = grid.frames.length;
  const canvas = node("canvas", { class: "pp-grid", width: 336, height: Math.round(336 * grid.rows / grid.columns), role: "img", tabindex: "0" });
  const time = spaceTime(grid), cursor = node("div", { class: "pp-cursor" });
  const says = node("output", { class: "pp-frame" });
  const slider = node("input", { type: "range", min: 0, max: count - 1, step: 1, class: "pp-at", "aria-label": "frame",
    oninput: () => { state.playing = false; go(Number(slider.value)); } });
  const play = node("button", { type: "button", class: "pp-play", onclick: () => { state.playing = !state.playing; state.last = 0; go(state.frame); } });
  const step = (by) => node("button", { type: "button", class: by > 0 ? "pp-next" : "pp-back", title: `${by > 0 ? "next" : "previous"} frame`,
    onclick: () => { state.playing = false; go((state.frame + by + count) % count); } }, by > 0 ? "▸|" : "|◂");
  const speed = node("select", { class: "pp-speed", "aria-label": "speed", onchange: () => { state.fps = Number(speed.value); } },
    ...[2, 5, 10, 20, 60].map((f) => node("option", { value: f, selected: f === state.fps }, `${f} frames/s`)));
  const strip = node("div", { class: "pp-frame-tokens" });
  const pick = (i) => { state.selected = i; show(); redraw(); };

  function patchOf(i) {   // patch index of a token of this frame, -1 for its delimiters
    const at = i - state.frame * grid.tokens_per_frame - grid.lead;
    return i >= 0 && at >= 0 && at < grid.patches ? at : -1;
  }
  function show() {
    paintGrid(canvas, grid.frames[state.frame], grid.rows, grid.columns, grid.colors);
    outlinePatches(canvas, grid);
    const patch = patchOf(state.selected);
    if (patch >= 0) ringPatch(canvas, patch, grid);
    markTokens(strip, state.selected, new Set());
  }
  function go(frame) {
    state.frame = frame; state.selected = -1;
    const from = frame * grid.tokens_per_frame, to = Math.min(scene.tokens.ids.length, from + grid.tokens_per_frame);
    strip.replaceChildren(tokenStrip(scene, from, to, pick));
    slider.value = frame;
    play.textContent = state.playing ? "❚❚ pause" : "▶ play";
    play.setAttribute("aria-pressed", state.playing);
    const loss = scene.tokens.mask.slice(from, to).includes("1") ? "these tokens carry loss" : "no loss on this frame";
    says.textContent = `frame ${frame + 1} of ${count} · ${loss}`;
    cursor.style.top = `${(frame + .5) / count * 100}%`;
    show(); redraw();
  }
  canvas.addEventListener("mousemove", (e) => {
    const box = canvas.getBoundingClientRect(), across = grid.columns / grid.patch;
    const x = Math.floor((e.clientX - box.left) / box.width * across), y = Math.floor((e.clientY - box.top) / box.height * grid.rows / grid.patch);
    pick(state.frame * grid.tokens_per_frame + grid.lead + y * across + x);
  });
  canvas.addEventListener("mouseleave", () => pick(-1));
  const root = node("div", { class: "pp-stage" },
    node("div", { class: "pp-left" }, canvas, node("div", { class: "pp-controls" }, step(-1), play, step(1), slider, speed), says, stateLegend(grid)),
    node("figure", { class: "pp-middle" }, node("div", { class: "pp-timebox" }, time, cursor),
      node("figcaption", {}, "middle row, time (frames) runs down")),
    node("div", { class: "pp-right" }, node("h4", {}, "tokens of this frame"), node("p", { class: "pp-key" }, grid.key || ""), strip));
  root.addEventListener("keydown", (e) => {
    if (e.target !== canvas) return;
    if (e.key === " ") play.click();
    else if (e.key === "ArrowRight") go((state.frame + 1) % count);
    else if (e.key === "ArrowLeft") go((state.frame + count - 1) % count);
    else return;
    e.preventDefault();
  });
  canvas.setAttribute("aria-label", "cells; space plays, arrow keys step");
  state.frame = Math.min(state.frame, count - 1);
  go(state.frame);
  return { root, tick: () => go((state.frame + 1) % count) };
}

// ---- brackets: skyline above, arcs below, tokens under both ---------------------------------------------------------

function bracketStage(scene, state, redraw) {
  const { depth, match, crossing } = scene.brackets, n = depth.length, top = Math.max(1, ...depth);
  const W = 1000, sky = 120, deep = 150, x = (i) => (i + .5) / n * W, y = (d) => sky - 8 - d / top * (sky - 20);
  const longest = Math.max(1, ...match.map((j, i) => (j > i ? j - i : 0)));
  const bow = (i, j) => { const r = (j - i) / longest * (deep - 10); return `M${x(i)},${sky + 8} C${x(i)},${sky + 8 + r * 4 / 3} ${x(j)},${sky + 8 + r * 4 / 3} ${x(j)},${sky + 8}`; };
  const line = depth.map((d, i) => `${i ? "L" : "M"}${i / n * W},${y(d)} L${(i + 1) / n * W},${y(d)}`).join(" ");
  const light = node("svg:g", { class: "pp-light" });
  const svg = node("svg:svg", { class: "pp-brackets", viewBox: `0 0 ${W} ${sky + deep + 20}`, role: "img", preserveAspectRatio: "none",
    "aria-label": `depth of ${n} tokens, at most ${top} open brackets, and an arc from each bracket to its partner` },
    node("svg:path", { class: "pp-sky", d: `${line} L${W},${y(0)} L0,${y(0)} Z` }),
    ...range(n).filter((i) => match[i] > i).map((i) => node("svg:path", { class: `pp-arc${crossing[i] ? " pp-cross" : ""}`, d: bow(i, match[i]), "data-i": i })),
    light);
  const says = node("output", { class: "pp-says", "aria-live": "polite" });
  const strip = tokenStrip(scene, 0, n, (i, fixed) => choose(i, fixed));
  let fixed = state.selected;

  function choose(i, hold = false) {
    if (hold) fixed = fixed === i ? -1 : i;
    const at = i < 0 ? fixed : i, other = at < 0 ? -1 : match[at];
    state.selected = at;
    const [a, b] = other < 0 ? [at, at] : [Math.min(at, other), Math.max(at, other)];
    markTokens(strip, at, new Set(at < 0 ? [] : range(b - a + 1).map((k) => a + k)));
    for (const t of strip.children) t.classList.toggle("pp-partner", other >= 0 && Number(t.dataset.i) === other);
    light.replaceChildren();
    if (at >= 0) {
      light.append(node("svg:rect", { class: "pp-span", x: a / n * W, y: 4, width: (b - a + 1) / n * W, height: sky - 8 }));
      if (other >= 0) light.append(node("svg:path", { class: "pp-arc-lit", d: bow(a, b) }));
    }
    const name = (k) => scene.tokens.names[k];
    says.textContent = at < 0 ? "point at a token or an arc; click to hold; arrow keys move, Enter jumps to the partner"
      : other < 0 ? `token ${at} ${name(at)} · depth ${depth[at]} · no partner in this row`
      : `token ${at} ${name(at)} · partner ${other} ${name(other)} · span ${b - a + 1} tokens · depth ${depth[at]}`;
    redraw();
  }
  svg.addEventListener("mousemove", (e) => {
    const arc = e.target.closest?.("[data-i]"), box = svg.getBoundingClientRect();
    const i = arc ? Number(arc.dataset.i) : Math.floor((e.clientX - box.left) / box.width * n);
    choose(Math.max(0, Math.min(n - 1, i)));
  });
  svg.addEventListener("mouseleave", () => choose(-1));
  svg.addEventListener("click", () => choose(state.selected, true));
  strip.addEventListener("keydown", (e) => {
    const at = Math.max(0, state.selected);
    const next = { ArrowRight: Math.min(n - 1, at + 1), ArrowLeft: Math.max(0, at - 1), Home: 0, End: n - 1, Enter: match[at] >= 0 ? match[at] : at, Escape: -1 }[e.key];
    if (next === undefined) return;
    fixed = -1; choose(next); fixed = next; e.preventDefault();
    strip.querySelector(".pp-chosen")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  if (fixed >= n) fixed = -1;
  choose(-1);
  const labels = node("div", { class: "pp-axis" }, node("span", {}, `height: open brackets, 0 to ${top}`), node("span", {}, "arcs below: from each bracket to its partner"));
  const ticks = node("div", { class: "pp-axis", "aria-hidden": "true" }, node("span", {}, "token 0"), node("span", {}, String(Math.floor(n / 2))), node("span", {}, String(n - 1)));
  return { root: node("div", { class: "pp-column" }, labels, svg, ticks, says, strip, cutNote(strip, n)) };
}

// ---- everything else: source and target, and the steps between -------------------------------------------------------

function cutNote(strip, n) {   // a box that holds more than it shows says so
  const note = node("div", { class: "pp-cut" });
  requestAnimationFrame(() => { if (strip.scrollHeight > strip.clientHeight + 2) note.textContent = `scroll inside the box for all ${n} tokens`; });
  return note;
}

function rowStage(scene, state, redraw) {
  const n = scene.tokens.ids.length, parts = scene.parts || [["tokens", 0, n]];
  const root = node("div", { class: "pp-column" });
  for (const [name, from, to] of parts) {
    const strip = tokenStrip(scene, from, to, (i) => { state.selected = i; markTokens(root, i, new Set()); redraw(); });
    strip.addEventListener("keydown", (e) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (!by) return;
      state.selected = Math.max(from, Math.min(to - 1, (state.selected < from || state.selected >= to ? from - (by > 0 ? 1 : 0) : state.selected) + by));
      markTokens(root, state.selected, new Set()); redraw(); e.preventDefault();
    });
    root.append(node("h4", {}, `${name} (${to - from} tokens)`), strip, cutNote(strip, to - from));
  }
  return { root };
}

function steps(scene) {
  if (!scene.steps?.length) return null;
  const rows = scene.steps.map(([label, text], k) => node("tr", {}, node("td", {}, String(k + 1)), node("td", {}, label), node("td", { class: "pp-mono" }, text)));
  return node("details", { class: "pp-steps", open: true }, node("summary", {}, `${rows.length} steps of the executor`),
    node("div", { class: "pp-scroll" }, node("table", {}, node("tbody", {}, ...rows))));
}

// ---- many examples: upright bars over numbers, lying ones beside words ---------------------------------------------

function bars(title, unit, labels, values) {
  const words = labels.some((l) => !/^-?[0-9.]+(–-?[0-9.]+)?$/.test(l)), high = Math.max(1, ...values);
  const told = `${title}: ${labels.map((l, i) => `${l}: ${values[i]}`).join(", ")}`;
  const caption = node("figcaption", {}, title);
  if (words) return node("figure", { class: "pp-hist pp-words" }, caption, node("div", { class: "pp-lying", role: "img", "aria-label": told },
    ...labels.flatMap((l, i) => [node("span", { class: "pp-name", title: l }, l),
      node("span", { class: "pp-bar" }, node("i", { style: `width:${values[i] / high * 100}%` })), node("span", { class: "pp-count" }, String(values[i]))])),
    node("div", { class: "pp-unit" }, unit));
  const W = 300, H = 96, left = 34, wide = (W - left) / values.length, y = (v) => 6 + H - v / high * H;
  const every = Math.max(1, Math.ceil(values.length * (Math.max(...labels.map((l) => l.length)) * 6.2 + 8) / (W - left)));
  const text = (x, at, anchor, says) => node("svg:text", { x, y: at, "text-anchor": anchor }, says);
  const svg = node("svg:svg", { class: "pp-bars", viewBox: `0 0 ${W} ${H + 24}`, role: "img", "aria-label": told },
    node("svg:line", { class: "pp-rule", x1: left, x2: W, y1: y(high), y2: y(high) }), node("svg:line", { class: "pp-rule", x1: left, x2: W, y1: y(0), y2: y(0) }),
    text(left - 4, y(high) + 4, "end", high >= 10000 ? `${Math.round(high / 1000)}k` : String(high)), text(left - 4, y(0) + 1, "end", "0"),
    ...values.map((v, i) => node("svg:rect", { x: left + i * wide + .5, y: y(v), width: Math.max(1, wide - 1), height: H - y(v) + 6 }, node("svg:title", {}, `${labels[i]}: ${v}`))),
    ...labels.flatMap((l, i) => (i % every ? [] : [text(Math.min(left + (i + .5) * wide, W - l.length * 3.1), H + 19, "middle", l)])));
  return node("figure", { class: "pp-hist" }, caption, svg, node("div", { class: "pp-unit" }, `height: ${unit}`));
}

function gauge({ title, value, text, marks = [] }) {
  const place = (at) => `${Math.min(1, Math.max(0, at)) * 100}%`;
  return node("figure", { class: "pp-gauge" }, node("figcaption", {}, title),
    node("div", { class: "pp-rail", role: "meter", "aria-valuenow": value, "aria-valuemin": 0, "aria-valuemax": 1, "aria-label": title },
      node("div", { class: "pp-fill", style: `width:${place(value)}` }),
      ...marks.map(([at, says]) => node("i", { style: `left:${place(at)}`, title: says }))),
    node("div", { class: "pp-ends" }, node("span", {}, "0"), node("span", {}, "1")),
    node("div", {}, text),
    ...marks.map(([at, says]) => node("div", { class: "pp-mark" }, `│ ${Number(at.toFixed(3))}: ${says}`)));
}

// ---- one scene after another -------------------------------------------------------------------------------------------

function render({ model, el }) {
  const state = { frame: model.get("frame") || 0, selected: -1, playing: false, fps: 10, last: 0 };
  const root = node("div", { class: "pp-explorer" });
  el.append(root);
  const many = node("div", { class: "pp-facts" });
  const count = () => {
    const remark = model.get("remark");
    many.replaceChildren(...(model.get("histograms") || []).map((h) => bars(h.title, h.unit, h.labels, h.values)), ...(remark ? [node("p", { class: "pp-remark" }, remark)] : []));
  };
  let stage = null, alive = true;

  const redraw = () => { root.dataset.frame = state.frame; root.dataset.selected = state.selected; };
  function build() {
    const scene = model.get("scene");
    if (!scene?.tokens) return;
    const make = scene.grid ? gridStage : scene.brackets ? bracketStage : rowStage;
    if (!scene.grid) state.frame = 0;
    if (state.selected >= scene.tokens.ids.length) state.selected = -1;
    stage = make(scene, state, redraw);
    const facts = (scene.gauges || []).map(gauge);
    root.replaceChildren(node("p", { class: "pp-note" }, scene.note || ""), stage.root, ...[steps(scene)].filter(Boolean),
      node("div", { class: "pp-facts" }, ...facts), many);
    root.dataset.version = scene.version;
    root.dataset.kind = scene.grid ? "grid" : scene.brackets ? "brackets" : "row";
    redraw();
  }
  function beat(now) {
    if (!alive) return;
    if (state.playing && stage?.tick) {
      if (!state.last) state.last = now;
      if (now - state.last >= 1000 / state.fps) { state.last = now; stage.tick(); }
    }
    requestAnimationFrame(beat);
  }
  const remember = () => { if (model.get("frame") !== state.frame) { model.set("frame", state.frame); model.save_changes(); } };
  root.addEventListener("change", remember);
  model.on("change:scene", build);
  model.on("change:histograms", count);
  model.on("change:remark", count);
  build(); count();
  requestAnimationFrame(beat);
  return () => { alive = false; model.off("change:scene", build); model.off("change:histograms", count); model.off("change:remark", count); };
}

export default { render };
