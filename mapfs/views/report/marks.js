// What a mark looks like: the colour tells the process (or the kind), the shape the kind.
// The colours are those of Okabe and Ito, which people who cannot tell red from green can tell apart.

const PALETTE = {
  light: ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#332288"],
  dark: ["#56b4e9", "#e69f00", "#1fc49a", "#ff7f32", "#e39ac2", "#f0e442", "#8ea2ff"],
};
const GREY = { light: "#7b8794", dark: "#8b97a5" };
const RED = { light: "#b00020", dark: "#ff6b6b" };
const KIND_COLOUR = {
  COLD: 0, REFAULT: 3, WRITE: 4, "READ-AHEAD": 5, PUSH: 5, DROP: 6, DIRECT: 4, AHEAD: 5, SHARED: 2, JOINED: 1,
};
const SHAPE = {
  COLD: "square", REFAULT: "frame", WRITE: "up", ERROR: "cross", "READ-AHEAD": "shade", PUSH: "down", DROP: "hollow",
  DIRECT: "diamond", "?": "shade", AHEAD: "dot", SHARED: "ring", JOINED: "target", FOUND: "dot", EVICT: "dash",
};
const INSET = new Set(["dot", "ring", "target", "cross", "dash", "up", "down", "hollow", "diamond"]);

const kinds = report.kinds.map((kind) => kind.name);
let theme = "light";
let colourBy = "process";

function colourOf(process, kind) {
  const name = kinds[kind];
  if (name === "ERROR") return RED[theme];
  if (colourBy === "kind") return name in KIND_COLOUR ? PALETTE[theme][KIND_COLOUR[name]] : GREY[theme];
  const colour = process === null ? null : report.processes[process].colour;
  return colour === null ? GREY[theme] : PALETTE[theme][colour];
}

// Draws a kind into the box, of which shapes that are no rectangle keep the middle.
function drawMark(context, kind, colour, x, y, width, height, back) {
  const shape = SHAPE[kinds[kind]];
  context.fillStyle = context.strokeStyle = colour;
  context.lineWidth = 1.6;
  if (!INSET.has(shape)) {
    if (shape === "shade") {
      const alpha = context.globalAlpha;
      context.globalAlpha = alpha * 0.45;
      context.fillRect(x, y, width, height);
      context.globalAlpha = alpha;
      return;
    }
    context.fillRect(x, y, width, height);
    if (shape === "frame" && width >= 4 && height >= 4) {
      const edge = Math.max(1.3, Math.min(width, height) * 0.24);
      const alpha = context.globalAlpha;
      context.globalAlpha = 1;
      context.fillStyle = back;
      context.fillRect(x + edge, y + edge, width - 2 * edge, height - 2 * edge);
      context.globalAlpha = alpha;
    }
    return;
  }
  if (width > 14) { // many pages: a line as long as they are
    context.globalAlpha *= 0.6;
    context.fillRect(x, y + height / 2 - 0.7, width, 1.4);
    context.globalAlpha /= 0.6;
  }
  const cx = x + width / 2, cy = y + height / 2;
  const radius = Math.max(2, Math.min(4.5, Math.min(Math.max(width, 6), Math.max(height, 6)) / 2));
  context.beginPath();
  if (shape === "dot") context.arc(cx, cy, radius * 0.6, 0, 7);
  else if (shape === "ring" || shape === "target") context.arc(cx, cy, radius * 0.85, 0, 7);
  else if (shape === "dash") { context.moveTo(cx - radius, cy); context.lineTo(cx + radius, cy); }
  else if (shape === "cross") {
    for (const sign of [1, -1]) { context.moveTo(cx - radius, cy - sign * radius); context.lineTo(cx + radius, cy + sign * radius); }
  } else {
    const tip = shape === "up" ? -radius : radius;
    context.moveTo(cx - radius, cy - tip * (shape === "diamond" ? 0 : 1));
    if (shape === "diamond") { context.lineTo(cx, cy - radius); }
    context.lineTo(cx + radius, cy - tip * (shape === "diamond" ? 0 : 1));
    context.lineTo(cx, cy + tip);
    context.closePath();
  }
  if (shape === "dot" || shape === "up" || shape === "down") context.fill();
  else {
    if (shape === "cross") context.lineWidth = 2.2;
    context.stroke();
  }
  if (shape === "target") { context.beginPath(); context.arc(cx, cy, radius * 0.3, 0, 7); context.fill(); }
}
