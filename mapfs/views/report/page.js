// Puts it all together: the head, the legends with their switches, light and dark.

function toggle(place, text, glyph, pressed, act, title = "") {
  const button = element("button");
  button.type = "button";
  if (title) button.title = title;
  if (glyph) button.append(glyph);
  button.append(element("span", text));
  button.setAttribute("aria-pressed", String(pressed));
  button.addEventListener("click", () => act(button));
  document.getElementById(place).append(button);
  return button;
}

function glyph(kind, process) {
  const canvas = element("canvas");
  canvas.width = canvas.height = 28;
  canvas.style.width = canvas.style.height = "14px";
  canvas.dataset.kind = kind;
  canvas.dataset.process = process ?? "";
  paint(canvas);
  return canvas;
}

function paint(canvas) {
  const context = canvas.getContext("2d");
  context.setTransform(2, 0, 0, 2, 0, 0);
  context.clearRect(0, 0, 14, 14);
  const kind = Number(canvas.dataset.kind || 0), ofProcess = canvas.dataset.kind === "";
  let colour = style("--text");
  if (ofProcess) colour = colourBy === "kind" ? GREY[theme] : colourOf(canvas.dataset.process === "" ? null : Number(canvas.dataset.process), kind);
  else if (colourBy === "kind" || kinds[kind] === "ERROR") colour = colourOf(null, kind);
  drawMark(context, kind, colour, 2, 2, 10, 10, style("--back"));
}

function flip(set, key) {
  return (button) => {
    const shown = set.has(key);
    if (shown) set.delete(key);
    else set.add(key);
    button.setAttribute("aria-pressed", String(set === shownFiles ? !shown : shown));
    select(...view);
  };
}

function legends() {
  const used = new Set(marks.kind);
  report.kinds.forEach((kind, number) => {
    if (!used.has(number)) return;
    if (kind.name === "EVICT" && !exact) hiddenKinds.add(number);
    toggle("kinds", kind.name, glyph(number, null), !hiddenKinds.has(number), flip(hiddenKinds, number), kind.about);
  });
  const coloured = report.processes.map((one, row) => [one.colour, row]).filter(([colour]) => colour !== null);
  for (const [, row] of coloured.sort((a, b) => a[0] - b[0])) {
    toggle("processes", processName(row), glyph("", row), true, flip(hiddenProcesses, row), "show or hide its marks");
  }
  const grey = marks.process.some((row) => row === null || report.processes[row].colour === null);
  if (grey) toggle("processes", "others, or nobody known", glyph("", null), true, flip(hiddenProcesses, "others"));
  report.files.forEach((file, row) => {
    if (file.drawn) toggle("lanes", file.file, null, shownFiles.has(row), flip(shownFiles, row), "show or hide its lane");
  });
  for (const [name, key] of [["by process", "process"], ["by class", "kind"]]) {
    toggle("by", name, null, colourBy === key, (button) => {
      colourBy = key;
      for (const other of button.parentNode.children) other.setAttribute("aria-pressed", String(other === button));
      repaint();
    });
  }
}

function repaint() {
  document.querySelectorAll("button canvas").forEach(paint);
  recolourChips();
  draw();
}

function setTheme(name) {
  theme = name;
  document.documentElement.dataset.theme = name;
  document.getElementById("theme").textContent = name === "dark" ? "light" : "dark";
}

function head() {
  const all = report.total;
  document.getElementById("title").textContent = `Page demands of ${report.mountpoint}`;
  const parts = [
    `${plural(all.demands, "demand")} for ${plural(all.pages, "page")} (${size(all.bytes)}) in ${time(report.span_ns)}`,
    plural(all.refaults, "re-fault"),
    `threads waited ${time(all.wait_ns)} in all, ${time(all.longest_ns)} at most`,
  ];
  if (report.evicted !== null) parts.push(`${plural(report.evicted, "page")} evicted`);
  document.getElementById("lead").textContent = parts.join(" · ");
  for (const sentence of report.unknown) document.getElementById("unknown").append(element("li", sentence));
  const drawn = report.files.filter((file) => file.drawn).length;
  const left = report.files.length - drawn;
  const widths = [...new Set([...shownFiles].map((row) => size(exact ? report.page_size : marks.width[row])))];
  const each = exact
    ? `Each mark is one event; its tail is the wait.`
    : `Each mark: ${widths.join(" or ")} × ${time(marks.row_ns)}, the stronger the more happened there.`;
  document.getElementById("scale").textContent =
    `${each} Drag over a time to see it alone.${left ? ` The ${drawn} busiest of ${report.files.length} files are drawn.` : ""}`;
  const when = new Date(report.start_wall_ns / 1e6).toISOString().replace("T", " ").slice(0, 19);
  document.getElementById("made").textContent =
    `mapfs ${report.version}, evidence: ${report.evidence}, page size ${size(report.page_size)}, time 0 is ${when} UTC.`;
  chart.setAttribute("aria-label", `Page demands over time and offset, ${plural(total, "mark")}; arrow keys go from one to the next.`);
}

const dark = window.matchMedia("(prefers-color-scheme: dark)");
setTheme(dark.matches ? "dark" : "light");
dark.addEventListener("change", (event) => { setTheme(event.matches ? "dark" : "light"); repaint(); });
document.getElementById("theme").addEventListener("click", () => { setTheme(theme === "dark" ? "light" : "dark"); repaint(); });
head();
legends();
fillTables();
draw();
listen();
