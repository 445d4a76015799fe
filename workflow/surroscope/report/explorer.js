"use strict";
// The explorer of a system: two matrices between all transitions, the pair that is pointed at, and rollouts frame by frame.
// Everything is drawn from the JSON beside it; text goes in as text, never as markup.
(() => {
  const CELL = 8, MISSING = { 1: 255, 2: 65535 };
  const make = (tag, attributes = {}, ...children) => {
    const svg = ["svg", "polyline", "line", "text"].includes(tag);
    const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };
  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const decoded = (text, size) => size === 1 ? bytes(text) : new Uint16Array(bytes(text).buffer);
  const median = values => {
    const sorted = values.filter(Number.isFinite).sort((a, b) => a - b), half = sorted.length / 2;
    return sorted.length ? (sorted[Math.ceil(half) - 1] + sorted[Math.floor(half)]) / 2 : NaN;
  };
  const shown = value => Number.isFinite(value) ? value.toPrecision(3).replace("-", "−") : "–";
  const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
  // Lightness is symmetric about zero in the first, and rises in the second.
  const SCALES = {
    signed: [[-1, 5, 48, 97], [-0.4, 67, 147, 195], [0, 247, 247, 247], [0.4, 244, 165, 130], [0.7, 214, 96, 77], [1, 103, 0, 31]],
    share: [[0, 252, 253, 232], [0.35, 127, 205, 187], [0.7, 34, 94, 168], [1, 8, 29, 88]],
    field: [[0, 20, 20, 20], [1, 240, 240, 240]],
  };
  const colour = (scale, at) => {
    const stops = SCALES[scale], x = Math.min(Math.max(at, stops[0][0]), stops.at(-1)[0]);
    const next = Math.max(1, stops.findIndex(stop => x <= stop[0]));
    const [a, ...from] = stops[next - 1], [b, ...to] = stops[next];
    return from.map((value, k) => value + (to[k] - value) * (x - a) / (b - a));
  };
  const paint = (canvas, width, height, at, scale) => {
    const small = new OffscreenCanvas(width, height), image = new ImageData(width, height);
    for (let k = 0; k < width * height; k++) {
      const value = at(k % width, Math.floor(k / width));
      image.data.set(Number.isFinite(value) ? [...colour(scale, value), 255] : [255, 0, 255, 255], 4 * k);
    }
    small.getContext("2d").putImageData(image, 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    return context;
  };

  class Matrices {
    constructor(data) {
      this.data = data;
      this.size = data.classes.length * data.times;
      this.cache = new Map();
    }
    // Values of every unit, [unit][response * size + perturbation]; without units, the medians that were kept.
    of(model, epoch, measure) {
      const key = [model, epoch, measure].join("/");
      if (!this.cache.has(key)) {
        const { units, pooled, data } = this.data.models[model][epoch][measure], { low, high } = this.data.measures[measure];
        const codes = decoded(data, 2), count = this.size ** 2;
        const values = Array.from({ length: codes.length / count }, (_, n) => Float64Array.from(
          { length: count }, (_, k) => codes[n * count + k] === MISSING[2] ? NaN : low + codes[n * count + k] / (MISSING[2] - 1) * (high - low)));
        const middle = values.length > 1
          ? Float64Array.from({ length: count }, (_, k) => median(values.map(unit => unit[k]))) : values[0];
        this.cache.set(key, { units, values, middle, count: units.length || pooled });
      }
      return this.cache.get(key);
    }
    transition(index) {
      return `${this.data.classes[Math.floor(index / this.data.times)]}, t = ${index % this.data.times + this.data.first}`;
    }
  }

  function explorer(root) {
    const data = JSON.parse(root.querySelector("script").textContent), matrices = new Matrices(data);
    const { classes, times, fields } = data, size = matrices.size, models = Object.keys(data.models);
    const id = root.dataset.id, measures = Object.keys(data.measures);
    const state = { at: [Math.min(4, times - 1), Math.min(4, times - 1)], unit: 0 };
    const latest = model => Object.keys(data.models[model]).at(-1);
    state.sides = [0, 1].map(side => ({
      model: models[Math.min(side, models.length - 1)],
      epoch: latest(models[Math.min(side, models.length - 1)]),
      measure: models.length > 1 || side === 0 ? measures[0] : measures.at(1) ?? measures[0],
    }));

    const select = (label, options, value, change) => {
      const element = make("select", { onchange: event => { change(event.target.value); draw(); } });
      for (const [key, text] of options) element.append(make("option", { value: key, ...(key === value ? { selected: "" } : {}) }, text));
      return make("label", {}, `${label} `, element);
    };
    const pair = make("p", { id: `${id}-pair`, role: "status", class: "pair" });
    const unitLabel = make("output", {});
    const unit = make("input", { type: "range", min: 0, max: 0, value: 0, oninput: event => { state.unit = +event.target.value; draw(); } });
    const sides = state.sides.map((side, number) => {
      const canvas = make("canvas", { width: size * CELL, height: size * CELL, tabindex: 0, role: "application", "aria-roledescription": "matrix", class: "matrix", "aria-describedby": `${id}-pair` });
      const legend = make("canvas", { width: 160, height: 10, "aria-hidden": "true" }), ends = make("span", { class: "quiet" });
      const epochs = make("span", {});
      point(canvas);
      const controls = make("div", { class: "controls" },
        select("Network", models.map(name => [name, name]), side.model, value => { side.model = value; side.epoch = latest(value); epochSlider(); }),
        select("measure", measures.map(name => [name, data.measures[name].title]), side.measure, value => { side.measure = value; }), epochs);
      const epochSlider = () => {
        const known = Object.keys(data.models[side.model]);
        epochs.replaceChildren();
        if (known.length < 2) return;
        const told = make("output", {}, side.epoch);
        epochs.append(make("label", {}, "epoch ", make("input", {
          type: "range", min: 0, max: known.length - 1, value: known.indexOf(side.epoch),
          oninput: event => { side.epoch = told.textContent = known[+event.target.value]; draw(); },
        })), told);
      };
      epochSlider();
      return { side, canvas, legend, ends, figure: make("figure", { role: "group", "aria-label": `${number ? "Second" : "First"} matrix` }, controls, canvas, make("figcaption", { class: "quiet" }, legend, " ", ends)) };
    });
    const values = make("tbody", {});
    const states = [0, 1].map(() => make("canvas", { width: 128, height: 128, role: "img" }));
    const moved = sides.map(() => {
      const canvas = make("canvas", { width: 128, height: 128, role: "img" }), told = make("figcaption", { class: "quiet" });
      return { canvas, told, figure: make("figure", { hidden: "" }, canvas, told) };
    });
    const lag = make("svg", { viewBox: "0 0 380 170", role: "img", class: "lag" });
    const row = make("code", { class: "row" });
    root.append(
      make("p", { class: "quiet" }, "Columns: the transition that a step is taken on; rows: the one that responds; classes one after the other, the first at the lower left. Point, tap, or move with the arrow keys (Page Up and Down: by a class)."),
      make("p", {}, make("label", {}, "Seed and batch ", unit), " ", unitLabel),
      make("div", { class: "pairs" }, ...sides.map(one => one.figure)), pair,
      make("div", { class: "panel" },
        make("div", { class: "scroll", role: "region", "aria-labelledby": `${id}-pair`, tabindex: 0 }, make("table", {}, make("thead", {}, make("tr", {}, ...["network", "measure", "here", "median", "least to most", "above 0"].map(text => make("th", { scope: "col" }, text)))), values)),
        ...states.map((canvas, k) => make("figure", {}, canvas, make("figcaption", { class: "quiet" }, k ? `responds (${fields.channel})` : `stepped on (${fields.channel})`))),
        ...moved.map(one => one.figure),
        make("figure", {}, lag, make("figcaption", { class: "quiet" }, "Medians between these two classes against the lag (time of the response less that of the step), relative to the responding class's own at lag 0"))),
      make("p", { class: "quiet" }, "network, epoch, measure, step, response, median over seeds and batches: ", row));

    function point(canvas) {
      const go = event => {
        const box = canvas.getBoundingClientRect();
        const column = Math.floor((event.clientX - box.left) / box.width * size), up = size - 1 - Math.floor((event.clientY - box.top) / box.height * size);
        if (column < 0 || column >= size || up < 0 || up >= size) return;
        state.at = [up, column];
        draw();
      };
      canvas.addEventListener("pointerdown", go);
      canvas.addEventListener("pointermove", event => { if (event.pointerType === "mouse" || event.buttons) go(event); });
      canvas.addEventListener("keydown", event => {
        const steps = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], PageUp: [times, 0], PageDown: [-times, 0], Home: [0, -size], End: [0, size] }[event.key];
        if (!steps) return;
        event.preventDefault();
        state.at = state.at.map((value, k) => Math.min(Math.max(value + steps[k], 0), size - 1));
        draw();
      });
    }

    // What a side shows: all units, the chosen one (seed, batch) where it has that, else the median, and where on its scale.
    function seen({ model, epoch, measure }, chosen) {
      const found = matrices.of(model, epoch, measure), { low, limit, signed } = data.measures[measure];
      const place = chosen ? found.units.findIndex(([seed, batch]) => seed === chosen[0] && batch === chosen[1]) : -1;
      const least = signed ? -limit : Math.min(low, 0);
      const told = place < 0 ? `${chosen ? "has no such batch: " : ""}median of ${found.count}` : `seed ${chosen[0]}, probe batch ${chosen[1]}`;
      return { ...found, shown: place < 0 ? found.middle : found.values[place], told, signed, least, most: limit,
        scaled: value => signed ? value / limit : (value - least) / (limit - least) };
    }

    function draw() {
      const [up, column] = state.at, here = up * size + column;
      const { units } = sides.map(({ side }) => matrices.of(side.model, side.epoch, side.measure)).reduce((a, b) => a.units.length >= b.units.length ? a : b);
      unit.max = units.length;
      unit.value = state.unit = Math.min(state.unit, units.length);
      const chosen = units[state.unit - 1], all = sides.map(one => seen(one.side, chosen));
      unitLabel.textContent = chosen ? `seed ${chosen[0]}, probe batch ${chosen[1]}` : "median of all";
      sides.forEach(({ side, canvas, legend, ends }, number) => {
        const { shown: matrix, told, signed, scaled, least, most } = all[number], scale = signed ? "signed" : "share";
        const context = paint(canvas, size, size, (x, y) => scaled(matrix[(size - 1 - y) * size + x]), scale);
        context.strokeStyle = "#0006";
        for (let k = 1; k < classes.length; k++) {
          context.strokeRect(k * times * CELL + .5, -1, 0, size * CELL + 2);
          context.strokeRect(-1, k * times * CELL + .5, size * CELL + 2, 0);
        }
        context.strokeStyle = "#000";
        context.strokeRect(column * CELL - .5, (size - 1 - up) * CELL - .5, CELL + 1, CELL + 1);
        context.strokeStyle = "#0009";
        context.strokeRect(-1, (size - 1 - up) * CELL + .5, size * CELL + 2, CELL - 1);
        context.strokeRect(column * CELL + .5, -1, CELL - 1, size * CELL + 2);
        canvas.setAttribute("aria-label", `${data.measures[side.measure].title} of ${side.model} between all transitions`);
        paint(legend, 160, 1, x => signed ? x / 79.5 - 1 : x / 159, scale);
        ends.textContent = `${shown(least)} to ${shown(most)}, beyond that as at the ends; ${told}`;
      });
      pair.textContent = `A step on ${matrices.transition(column)} → the response at ${matrices.transition(up)}: ${sides.map(({ side }, number) => `${side.model} ${shown(all[number].shown[here])}`).join(", ")}`;
      values.replaceChildren(...sides.map(({ side }, number) => {
        const own = all[number].values.map(unit => unit[here]).filter(Number.isFinite), several = all[number].units.length > 1;
        const cells = [data.measures[side.measure].title, shown(all[number].shown[here]), shown(all[number].middle[here]),
          several ? `${shown(Math.min(...own))} to ${shown(Math.max(...own))}` : "–", several ? `${own.filter(value => value > 0).length} of ${own.length}` : "–"];
        return make("tr", {}, make("th", { scope: "row" }, side.model), ...cells.map(text => make("td", {}, text)));
      }));
      row.textContent = sides.map(({ side }, number) => [side.model, side.epoch, side.measure, classes[Math.floor(column / times)], column % times + data.first,
        classes[Math.floor(up / times)], up % times + data.first, shown(all[number].middle[here])].join(", ")).join("; ");
      [column, up].forEach((index, k) => {
        const [, frames, y, x] = fields.shape, ic = Math.floor(index / times), time = index % times + data.first;
        paint(states[k], x, y, (a, b) => truth[((ic * frames + time) * y + b) * x + a] / 254, "field");
        states[k].setAttribute("aria-label", `${fields.channel} of ${matrices.transition(index)}`);
      });
      moved.forEach((one, number) => response(one, sides[number].side.model, up, column));
      curve(all, Math.floor(up / times), Math.floor(column / times), up % times - column % times);
    }
    const truth = bytes(fields.truth);

    // How a prediction moves, at the pair of the grid that is next to the one that is pointed at.
    function response({ canvas, told, figure }, model, up, column) {
      const found = data.responses[model];
      figure.hidden = !found;
      if (!found) return;
      const next = index => found.transitions.reduce((best, other, k) => {
        const far = at => (Math.floor(at / times) === Math.floor(index / times) ? 0 : size) + Math.abs(at - index);
        return far(other) < far(found.transitions[best]) ? k : best;
      }, 0);
      const [row, step] = [up, column].map(next), [y, x] = found.shape, start = (row * found.transitions.length + step) * x * y;
      found.bytes ??= bytes(found.data);
      paint(canvas, x, y, (a, b) => found.bytes[start + b * x + a] / 127 - 1, "signed");
      const pair = `a step on ${matrices.transition(found.transitions[step])} at ${matrices.transition(found.transitions[row])}`;
      canvas.setAttribute("aria-label", `How ${pair} moves the ${fields.channel} that ${model} predicts`);
      told.textContent = `${model}: how ${pair} moves its ${fields.channel} (±${shown(found.limits[row][step])}, seed ${found.of.seed}, first batch)`;
    }

    function curve(all, responds, stepped, here) {
      const lags = Array.from({ length: 2 * times - 1 }, (_, k) => k + 1 - times);
      const between = (matrix, row, column, d) => median(Array.from({ length: times - Math.abs(d) }, (_, k) => {
        const t = Math.max(0, -d) + k;
        return matrix[(row * times + t + d) * size + column * times + t];
      }));
      const curves = all.map(({ shown: matrix }) => lags.map(d => between(matrix, responds, stepped, d) / between(matrix, responds, responds, 0)));
      const x = d => 40 + (d + times - 1) / (2 * times - 2 || 1) * 330, known = curves.flat().filter(Number.isFinite);
      const low = Math.min(-.25, ...known), high = Math.max(1.05, ...known), y = value => 140 - (value - low) / (high - low) * 125;
      const ink = "currentColor";
      lag.replaceChildren(make("line", { x1: 40, x2: 370, y1: y(0), y2: y(0), stroke: ink, opacity: .4 }),
        make("line", { x1: x(here), x2: x(here), y1: 12, y2: 142, stroke: ink, "stroke-dasharray": "2 3" }),
        ...[0, .5, 1].map(value => make("text", { x: 34, y: y(value) + 4, "text-anchor": "end" }, String(value))),
        ...[1 - times, 0, times - 1].map(d => make("text", { x: x(d), y: 160, "text-anchor": "middle" }, String(d).replace("-", "−"))),
        ...curves.map((values, k) => make("polyline", { fill: "none", "stroke-width": 2, stroke: k ? (dark() ? "#e69f00" : "#a86f00") : (dark() ? "#56b4e9" : "#0072b2"),
          ...(k ? { "stroke-dasharray": "5 3" } : {}), points: values.map((value, n) => [x(lags[n]), y(value)]).filter(([, v]) => Number.isFinite(v)).join(" ") })),
        ...sides.map(({ side }, k) => make("text", { x: 44, y: 18 + 14 * k, fill: k ? (dark() ? "#e69f00" : "#8a5b00") : (dark() ? "#56b4e9" : "#0072b2") }, `${k ? "– –" : "——"} ${side.model}, ${side.measure.replace("_", " ")}`)));
      lag.setAttribute("aria-label", `Medians between ${classes[stepped]} and ${classes[responds]} against the lag, relative to the own class's at lag 0; at ${here}: ${sides.map(({ side }, k) => `${side.model} ${shown(curves[k][lags.indexOf(here)])}`).join(", ")}`);
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    draw();
    root.hidden = false;
  }

  function rollouts(root) {
    const { fields, classes, rollouts: errors } = JSON.parse(document.getElementById(root.dataset.from).textContent);
    const [, frames, y, x] = fields.shape, models = Object.keys(fields.predictions), cells = x * y;
    const all = { truth: bytes(fields.truth) };
    for (const model of models) all[model] = [bytes(fields.predictions[model]), bytes(fields.differences[model])];
    const state = { ic: 0, frame: Math.min(frames - 1, 4) };
    const told = make("output", {}), frame = make("input", { type: "range", min: 0, max: frames - 1, value: state.frame, oninput: event => { state.frame = +event.target.value; draw(); } });
    const chosen = make("select", { onchange: event => { state.ic = +event.target.value; draw(); } }, ...classes.map((name, k) => make("option", { value: k }, name)));
    const picture = () => make("canvas", { width: 192, height: Math.max(8, Math.round(192 * y / x)), role: "img" });
    const plates = [["truth", null], ...models.flatMap(model => [[model, 0], [model, 1]])].map(([name, part]) => ({ name, part, canvas: picture() }));
    const graph = make("svg", { viewBox: "0 0 380 180", role: "img", class: "lag" });
    root.append(make("p", {}, make("label", {}, "Class ", chosen), " ", make("label", {}, "snapshot ", frame), " ", told),
      make("div", { class: "plates" }, ...plates.map(({ name, part, canvas }) => make("figure", {}, canvas, make("figcaption", { class: "quiet" }, part === 1 ? `${name} − truth (±${shown(fields.apart)})` : name)))),
      make("figure", {}, graph, make("figcaption", { class: "quiet" }, "Error of each step (not summed), median over rollouts from the first snapshot, logarithmic; dotted: no change")),
      make("p", { class: "quiet" }, `One test trajectory of each class, seed ${fields.of.seed}: ${fields.channel} from ${shown(fields.low)} to ${shown(fields.high)}, beyond that as at the ends; magenta: not a number.`));
    function draw() {
      const start = (state.ic * frames + state.frame) * cells;
      told.textContent = `${state.frame} of ${frames - 1}, time ${fields.seconds[state.frame].toPrecision(3)}`;
      for (const { name, part, canvas } of plates) {
        const values = part === null ? all.truth : all[name][part];
        paint(canvas, x, y, (a, b) => { const code = values[start + b * x + a]; return code === MISSING[1] ? NaN : part === 1 ? code / 127 - 1 : code / 254; }, part === 1 ? "signed" : "field");
        canvas.setAttribute("aria-label", `${fields.channel}, ${classes[state.ic]}, snapshot ${state.frame}: ${part === 1 ? `${name} less the truth` : name}`);
      }
      const lines = [...models.map(model => [model, errors[model].error[state.ic], ""]), ["no change", errors[models[0]].persistence[state.ic], "2 3"]];
      const known = lines.flatMap(([, values]) => values).filter(value => value > 0), low = Math.log10(Math.min(...known)), high = Math.log10(Math.max(...known));
      const px = k => 50 + k / (frames - 1) * 320, py = value => 150 - (Math.log10(value) - low) / (high - low || 1) * 130;
      const inks = dark() ? ["#56b4e9", "#e69f00", "#cc79a7", "#009e73"] : ["#0072b2", "#8a5b00", "#a0417a", "#00694d"];
      graph.replaceChildren(make("line", { x1: px(state.frame), x2: px(state.frame), y1: 12, y2: 152, stroke: "currentColor", opacity: .5 }),
        ...[low, high].map(value => make("text", { x: 46, y: py(10 ** value) + 4, "text-anchor": "end" }, (10 ** value).toPrecision(2))),
        ...[0, frames - 1].map(k => make("text", { x: px(k), y: 170, "text-anchor": "middle" }, String(k))),
        ...lines.map(([, values, dash], k) => make("polyline", { fill: "none", "stroke-width": 2, "stroke-dasharray": dash || (k ? `${4 + 2 * k} 3` : "none"), stroke: dash ? "currentColor" : inks[k % 4],
          points: values.map((value, n) => value > 0 ? [px(n), py(value)] : null).filter(Boolean).join(" ") })),
        ...lines.map(([name, , dash], k) => make("text", { x: 56, y: 20 + 14 * k, fill: dash ? "currentColor" : inks[k % 4] }, name)));
      graph.setAttribute("aria-label", `Error of each step on ${classes[state.ic]}: ` + lines.map(([name, values]) => `${name} ${values[state.frame] === null ? "none" : shown(values[state.frame])}`).join(", "));
    }
    draw();
    root.hidden = false;
  }

  // What a link leads to may be folded away.
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target) target.scrollIntoView();
  };
  // The link of the section that is read.
  const links = new Map([...document.querySelectorAll("#contents a")].map(link => [document.getElementById(link.hash.slice(1)), link]));
  const mark = () => {
    const passed = [...links.keys()].filter(heading => heading.checkVisibility() && heading.getBoundingClientRect().top < innerHeight / 3);
    for (const [heading, link] of links) heading === (passed.at(-1) ?? [...links.keys()][0]) ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  };
  addEventListener("hashchange", open);
  addEventListener("scroll", mark, { passive: true });

  for (const root of document.querySelectorAll(".explorer")) explorer(root);
  for (const root of document.querySelectorAll(".rollouts")) rollouts(root);
  open();
  mark();
})();
