"use strict";
// Numbers as mapfs prints them (mapfs/units.py), and elements whose content is always text.

const report = JSON.parse(document.getElementById("data").textContent);

function count(n) {
  return n === null ? "?" : n.toLocaleString("en-US");
}

function plural(n, one, many = one + "s") {
  return `${count(n)} ${n === 1 ? one : many}`;
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let at = 0;
  while (Math.abs(bytes) >= 1024 && at < units.length - 1) {
    bytes /= 1024;
    at++;
  }
  return `${at === 0 || bytes >= 100 ? bytes.toFixed(0) : bytes.toFixed(1)} ${units[at]}`;
}

function time(ns) {
  if (ns === null) return "?";
  if (ns < 1e3) return `${ns.toFixed(0)} ns`;
  for (const [factor, unit] of [[1e3, "us"], [1e6, "ms"]]) {
    const value = ns / factor;
    if (value < 999.5) return `${value < 9.95 ? value.toFixed(1) : value.toFixed(0)} ${unit}`;
  }
  return `${(ns / 1e9).toFixed(2)} s`;
}

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function processName(row) {
  if (row === null) return "other processes";
  const one = report.processes[row];
  if (one.pid === null) return "nobody known";
  return `${one.command}/${one.pid}${one.container ? ` in ${one.container.slice(0, 12)}` : ""}`;
}

function pagesName(first, pages) {
  return pages === 1 ? `page ${count(first)}` : `pages ${count(first)}-${count(first + pages - 1)}`;
}
