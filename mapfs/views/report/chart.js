// The picture: time runs downwards, as in a log; each lane is a file, in which offsets run to the right.

const LEFT = 74, TOP = 50, BOTTOM = 30, GAP = 14, SIDE = 190;
const LANES_AT_FIRST = 5;
const chart = document.getElementById("chart"), over = document.getElementById("over"), tip = document.getElementById("tip");
const exact = report.exact, marks = report.exact || report.cells;
const total = marks.file.length;
const span = Math.max(report.span_ns, 1);

const hiddenKinds = new Set(), hiddenProcesses = new Set(); // a process, or "others"
const shownFiles = new Set(report.files.map((file, row) => (file.drawn ? row : -1)).filter((row) => row >= 0).slice(0, LANES_AT_FIRST));
let view = [0, span]; // ns after the start
let lanes = [], boxes = [], height = 0, width = 0, drag = null, chosen = -1;

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function startOf(at) {
  return exact ? exact.time[at] : marks.row[at] * marks.row_ns;
}

function endOf(at) {
  return exact ? exact.time[at] + (exact.wait[at] || 0) : (marks.row[at] + 1) * marks.row_ns;
}

function isShown(at) {
  if (!shownFiles.has(marks.file[at]) || hiddenKinds.has(marks.kind[at])) return false;
  const process = marks.process[at];
  const key = process === null || report.processes[process].colour === null ? "others" : process;
  return !hiddenProcesses.has(key) && endOf(at) >= view[0] && startOf(at) <= view[1];
}

function yOf(ns) {
  return TOP + ((ns - view[0]) / (view[1] - view[0])) * (height - TOP - BOTTOM);
}

function timeAt(y) {
  const inside = Math.min(Math.max(y, TOP), height - BOTTOM);
  return view[0] + ((inside - TOP) / (height - TOP - BOTTOM)) * (view[1] - view[0]);
}

function layOut() {
  const rows = [...shownFiles].sort((a, b) => a - b);
  const weights = rows.map((row) => Math.sqrt(report.files[row].demand.pages + 1));
  const sum = weights.reduce((a, b) => a + b, 0);
  const room = width - LEFT - SIDE - GAP * (rows.length + 1);
  const least = Math.min(90, room / Math.max(rows.length, 1));
  const rest = room - least * rows.length;
  let x = LEFT;
  lanes = rows.map((row, at) => {
    const lane = { row, x, width: least + (rest * weights[at]) / sum, pages: Math.max(report.files[row].of_pages, 1) };
    x += lane.width + GAP;
    return lane;
  });
}

// Where a mark is: x, y, width and height.
function boxOf(at, lane) {
  let first, pages;
  if (exact) [first, pages] = [exact.page[at], exact.pages[at]];
  else {
    const wide = marks.width[marks.file[at]] / report.page_size;
    [first, pages] = [marks.column[at] * wide, wide];
  }
  const x = lane.x + (first / lane.pages) * lane.width;
  const w = Math.max((Math.min(pages, lane.pages - first) / lane.pages) * lane.width, exact ? 5 : 1.5);
  const y = yOf(startOf(at));
  const h = exact ? 5 : Math.max(yOf(endOf(at)) - y, 1.5);
  return [Math.min(x, lane.x + lane.width - Math.min(w, lane.width)), y, w, h];
}

function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

function draw() {
  width = chart.clientWidth;
  height = chart.clientHeight;
  layOut();
  const context = prepare(chart);
  const back = style("--back");
  context.fillStyle = back;
  context.fillRect(0, 0, width, height);
  context.font = '12px system-ui, "DejaVu Sans", sans-serif';
  drawAxes(context);
  drawMarks(context, back);
  drawSide(context);
  prepare(over);
}

function ticks(from, to, about) {
  const raw = (to - from) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

function fitted(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let length = text.length;
  while (length > 1 && context.measureText(`…${text.slice(-length)}`).width > room) length--;
  return `…${text.slice(-length)}`;
}

function drawAxes(context) {
  const line = style("--line"), faint = style("--faint"), text = style("--text"), soft = style("--soft");
  for (const lane of lanes) {
    context.fillStyle = soft;
    context.fillRect(lane.x, TOP, lane.width, height - TOP - BOTTOM);
  }
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const at of ticks(...view, 10)) {
    const y = Math.round(yOf(at)) + 0.5;
    context.strokeStyle = line;
    context.beginPath();
    context.moveTo(LEFT - 5, y);
    context.lineTo(width - GAP, y);
    context.stroke();
    context.fillStyle = faint;
    context.fillText(at ? time(at) : "0", LEFT - 9, y);
  }
  context.fillStyle = text;
  context.textAlign = "left";
  context.fillText("time ↓", 10, TOP - 14);
  for (const lane of lanes) {
    const file = report.files[lane.row];
    context.fillStyle = text;
    context.textAlign = "left";
    context.font = 'bold 13px system-ui, "DejaVu Sans", sans-serif';
    context.fillText(fitted(context, file.file, lane.width), lane.x, 16);
    context.font = '12px system-ui, "DejaVu Sans", sans-serif';
    context.fillStyle = faint;
    const sub = `${plural(file.demand.pages, "page")} of ${count(file.of_pages)}`;
    context.fillText(context.measureText(sub).width <= lane.width ? sub : count(file.demand.pages), lane.x, 34);
    context.fillText("0", lane.x, height - BOTTOM + 12);
    context.textAlign = "right";
    context.fillText(size(file.size), lane.x + lane.width, height - BOTTOM + 12);
    if (lane.width > 190) {
      context.textAlign = "center";
      context.fillText("offset →", lane.x + lane.width / 2, height - BOTTOM + 12);
    }
  }
  if (!lanes.length) {
    context.textAlign = "center";
    context.fillText(total ? "choose a file below" : "nothing was demanded", (LEFT + width - SIDE) / 2, height / 2);
  }
}

function drawMarks(context, back) {
  const laneOf = new Map(lanes.map((lane) => [lane.row, lane]));
  let most = 1;
  if (!exact) for (let at = 0; at < total; at++) most = Math.max(most, marks.count[at]);
  boxes = [];
  context.save();
  context.beginPath();
  context.rect(0, TOP - 3, width, height - TOP - BOTTOM + 6);
  context.clip();
  const order = kinds.map((_, kind) => kind).sort((a, b) => rank(a) - rank(b));
  const by = kinds.map(() => []);
  for (let at = 0; at < total; at++) if (isShown(at)) by[marks.kind[at]].push(at);
  for (const kind of order) {
    for (const at of by[kind]) {
      const box = boxOf(at, laneOf.get(marks.file[at]));
      const colour = colourOf(marks.process[at], kind);
      if (exact) {
        const length = yOf(endOf(at)) - box[1];
        if (length > 3) { // how long the thread waited
          context.globalAlpha = 0.3;
          context.fillStyle = colour;
          context.fillRect(box[0], box[1], Math.min(box[2], 5), length);
          context.globalAlpha = 1;
        }
      } else context.globalAlpha = 0.35 + 0.65 * (Math.log1p(marks.count[at]) / Math.log1p(most));
      drawMark(context, kind, colour, ...box, back);
      context.globalAlpha = 1;
      boxes.push([at, ...box]);
    }
  }
  context.restore();
}

function rank(kind) {
  return { EVICT: 0, "READ-AHEAD": 1, "?": 1, COLD: 2, REFAULT: 3, ERROR: 9 }[kinds[kind]] ?? 5;
}

// Beside the lanes, by the same time: the working set as a curve, and re-faults as bars.
function drawSide(context) {
  const line = report.timeline, x = width - SIDE, room = SIDE - GAP;
  const curve = line.resident || line.asked;
  const highest = Math.max(1, ...line.asked), bars = Math.max(1, ...line.refaults);
  const text = style("--text"), faint = style("--faint");
  context.save();
  context.beginPath();
  context.rect(x, TOP, room, height - TOP - BOTTOM);
  context.clip();
  line.refaults.forEach((pages, row) => {
    if (!pages) return;
    const y = yOf(row * line.row_ns);
    context.fillStyle = PALETTE[theme][3];
    context.globalAlpha = 0.75;
    context.fillRect(x, y, (pages / bars) * room * 0.5, Math.max(1.5, yOf((row + 1) * line.row_ns) - y));
    context.globalAlpha = 1;
  });
  for (const [values, colour, dash] of [[line.asked, faint, [3, 3]], [curve, PALETTE[theme][0], []]]) {
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(x, yOf(0));
    values.forEach((pages, row) => {
      context.lineTo(x + (pages / highest) * (room - 4), yOf(Math.min((row + 1) * line.row_ns, span)));
    });
    context.stroke();
  }
  context.restore();
  context.setLineDash([]);
  context.textAlign = "left";
  context.fillStyle = PALETTE[theme][0];
  context.fillText(line.resident ? "━ in the page cache" : "━ asked for so far", x, 16);
  if (report.total.refaults) {
    context.fillStyle = PALETTE[theme][3];
    context.fillText(`■ re-faults (most ${count(bars)})`, x, 34);
  } else if (line.resident) {
    context.fillStyle = faint;
    context.fillText("┅ asked for so far", x, 34);
  }
  context.fillStyle = faint;
  context.fillText("0", x, height - BOTTOM + 12);
  context.textAlign = "right";
  context.fillText(plural(highest, "page"), x + room, height - BOTTOM + 12);
  context.fillStyle = text;
}

function nearest(x, y) {
  let best = -1, least = 49;
  for (let at = boxes.length - 1; at >= 0; at--) {
    const [, left, top, w, h] = boxes[at];
    const dx = Math.max(left - x, 0, x - left - w), dy = Math.max(top - y, 0, y - top - h);
    const distance = dx * dx + dy * dy;
    if (distance < least) [best, least] = [at, distance];
  }
  return best;
}

function lines(at) {
  const kind = report.kinds[marks.kind[at]], file = report.files[marks.file[at]];
  if (exact) {
    const waits = [];
    if (exact.wait[at] !== null) waits.push(`waited ${time(exact.wait[at])}`);
    if (exact.total[at] !== null) waits.push(`${time(exact.total[at])} with the kernel's part`);
    const thread = exact.tid[at] !== null && exact.tid[at] !== report.processes[exact.process[at]].pid ? `, thread ${exact.tid[at]}` : "";
    return [
      `${file.file}, ${pagesName(exact.page[at], exact.pages[at])}`,
      exact.label[at] && `label ${exact.label[at]}`,
      `${kind.name}: ${kind.about}`,
      `${processName(exact.process[at])}${thread}`,
      exact.by[at] !== null && `brought in by ${processName(exact.by[at])}`,
      waits.join(", "),
      `at ${time(exact.time[at])}, offset 0x${(exact.page[at] * report.page_size).toString(16)}`,
      exact.error[at],
    ].filter(Boolean);
  }
  const wide = marks.width[marks.file[at]];
  const share = Math.round((100 * marks.own[at]) / marks.count[at]);
  return [
    `${file.file}, ${pagesName((marks.column[at] * wide) / report.page_size, wide / report.page_size)}`,
    `${count(marks.count[at])} × ${kind.name}: ${kind.about}`,
    share === 100 ? processName(marks.process[at]) : `${share} % by ${processName(marks.process[at])}`,
    `from ${time(startOf(at))} to ${time(endOf(at))}`,
  ];
}

function show(number) {
  chosen = number;
  const context = prepare(over);
  tip.hidden = number < 0;
  if (number < 0) return;
  const [at, x, y, w, h] = boxes[number];
  context.strokeStyle = style("--text");
  context.lineWidth = 1.5;
  context.strokeRect(x - 3, y - 3, w + 6, h + 6);
  const [head, ...rest] = lines(at);
  tip.replaceChildren(element("b", head), document.createTextNode(rest.join("\n")));
  const left = x + w + 14 + tip.offsetWidth > width ? x - tip.offsetWidth - 14 : x + w + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(y, height - tip.offsetHeight - 6))}px`;
}

function select(from, to) {
  view = [from, to];
  chosen = -1;
  tip.hidden = true;
  const whole = from <= 0 && to >= span;
  document.getElementById("reset").disabled = whole;
  draw();
  let said = "";
  if (!whole) {
    const by = new Map();
    for (let at = 0; at < total; at++) {
      if (isShown(at)) by.set(marks.kind[at], (by.get(marks.kind[at]) || 0) + (exact ? 1 : marks.count[at]));
    }
    const parts = [...by].sort((a, b) => b[1] - a[1]).map(([kind, n]) => `${count(n)} ${kinds[kind]}`);
    said = `${time(from)} to ${time(to)}, in these lanes: ${parts.join(", ") || "nothing"}`;
  }
  document.getElementById("selection").textContent = said;
}

function listen() {
  const place = (event) => {
    const box = chart.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  chart.addEventListener("pointerdown", (event) => {
    drag = place(event)[1];
    chart.setPointerCapture(event.pointerId);
  });
  chart.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    if (drag === null) return show(nearest(x, y));
    show(-1);
    const context = prepare(over);
    context.fillStyle = PALETTE[theme][0];
    context.globalAlpha = 0.22;
    context.fillRect(LEFT, Math.min(drag, y), width - LEFT - GAP, Math.abs(y - drag));
  });
  chart.addEventListener("pointerup", (event) => {
    const from = drag, to = place(event)[1];
    drag = null;
    if (from === null || Math.abs(to - from) < 5) return prepare(over);
    const [a, b] = [timeAt(Math.min(from, to)), timeAt(Math.max(from, to))];
    select(a, Math.max(b, a + Math.max(1, exact ? 1 : marks.row_ns)));
  });
  chart.addEventListener("pointerleave", () => drag === null && show(-1));
  chart.addEventListener("dblclick", () => select(0, span));
  document.getElementById("reset").addEventListener("click", () => select(0, span));
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") select(0, span);
    if (!step || !boxes.length) return;
    event.preventDefault();
    show((chosen + step + boxes.length) % boxes.length);
  });
  new ResizeObserver(draw).observe(chart);
}
