// The tables. A column is [head, value of a row, whether it is a name]; null is what nobody can tell.

function table(place, rows, columns, most = 15) {
  const target = document.getElementById(place);
  const made = element("table");
  const head = made.createTHead().insertRow();
  for (const [name, , isName] of columns) head.append(element("th", name, isName ? "name" : ""));
  const body = made.createTBody();
  const fill = (some) => {
    for (const row of some) {
      const line = body.insertRow();
      for (const [, value, isName] of columns) {
        const said = value(row);
        const cell = said instanceof Node ? element("td") : element("td", said, isName ? "name" : "");
        if (said instanceof Node) {
          cell.append(said);
          cell.className = "name";
        } else if (isName) cell.title = said;
        else if (said === "0" || said === "0 ns" || said === "0 B") cell.classList.add("zero");
        line.append(cell);
      }
    }
  };
  fill(rows.slice(0, most));
  target.append(rows.length ? made : element("p", "none", "about"));
  if (rows.length > most) {
    const more = element("button", `${count(rows.length - most)} more`);
    more.addEventListener("click", () => {
      fill(rows.slice(most));
      more.remove();
    });
    target.append(more);
  }
}

function chip(process) {
  const made = element("span");
  const dot = element("span", "", "chip");
  const colour = process === null ? null : report.processes[process].colour;
  dot.style.background = colour === null ? GREY[theme] : PALETTE[theme][colour];
  dot.dataset.process = process ?? "";
  made.append(dot, document.createTextNode(processName(process)));
  return made;
}

function recolourChips() {
  for (const dot of document.querySelectorAll(".chip[data-process]")) {
    const colour = dot.dataset.process === "" ? null : report.processes[dot.dataset.process].colour;
    dot.style.background = colour === null ? GREY[theme] : PALETTE[theme][colour];
  }
}

function sums(of) {
  return [
    ["demands", (row) => count(of(row).demands)],
    ["pages", (row) => count(of(row).pages)],
    ["re-faults", (row) => count(of(row).refaults)],
    ["read", (row) => size(of(row).bytes)],
    ["waited", (row) => time(of(row).wait_ns)],
    ["longest", (row) => time(of(row).longest_ns)],
    ["errors", (row) => count(of(row).errors)],
  ];
}

function got(name, head) {
  return [head, (row) => (row.got === null ? "?" : count(row.got[name]))];
}

function fillTables() {
  const from = [got("shared", "shared"), got("joined", "joined"), got("ahead", "read-ahead used"), got("found", "found")];
  table("files", report.files, [
    ["file", (row) => row.file, true],
    ["size", (row) => size(row.size)],
    ["of pages", (row) => count(row.of_pages)],
    ...sums((row) => row.demand),
    ["evicted", (row) => count(row.evicted)],
    ...from.slice(0, 2),
  ]);
  const busy = report.processes.map((process, row) => ({ ...process, row }));
  const active = busy.filter((one) => one.pid !== null || one.demand.demands || one.demand.errors);
  table("who", active, [
    ["process", (row) => chip(row.row), true],
    ["threads", (row) => (row.pid === null ? "?" : count(row.threads))],
    ...sums((row) => row.demand),
    ...from,
  ]);
  table("longest", report.longest, [
    ["at", (row) => time(row.time_ns)],
    ["waited", (row) => time(row.wait_ns)],
    ["in all", (row) => time(row.total_ns)],
    ["class", (row) => report.kinds[row.kind].name, true],
    ["file", (row) => report.files[row.file].file, true],
    ["page", (row) => pagesName(row.page, row.pages)],
    ["label", (row) => row.label ?? "-", true],
    ["process", (row) => chip(row.process), true],
    ["thread", (row) => (row.tid === null ? "?" : String(row.tid))],
    ["error", (row) => row.error ?? "", true],
  ], 10);
  fillSharing();
  const unasked = [["read ahead", report.readaheads], ["pushed by mapfs", report.pushes]];
  table("unasked", unasked, [
    ["", ([name]) => name, true],
    ["pages", ([, one]) => count(one.brought)],
    ["used", ([, one]) => count(one.used)],
    ["wasted", ([, one]) => count(one.wasted)],
    ["cannot be told", ([, one]) => count(one.unclear)],
  ]);
}

// The busiest of those who shared, as a matrix; the rest of them is in the list of --json.
function fillSharing() {
  if (report.sharing === null) {
    document.getElementById("sharing").append(element("p", "? (requests alone do not tell)", "about"));
    return;
  }
  const pages = new Map();
  for (const { got: to, by, shared, joined } of report.sharing) {
    for (const row of [to, by]) pages.set(row, (pages.get(row) || 0) + shared + joined);
  }
  const rows = [...pages].sort((a, b) => b[1] - a[1]).slice(0, 8).map(([row]) => row);
  const cells = new Map(report.sharing.map((one) => [`${one.got} ${one.by}`, one]));
  const said = (to, by) => {
    const one = cells.get(`${to} ${by}`);
    if (!one) return to === by ? "" : "0";
    return one.joined ? `${count(one.shared + one.joined)} (${count(one.joined)} joined)` : count(one.shared);
  };
  table("sharing", rows, [
    ["got pages from →", (row) => chip(row), true],
    ...rows.map((by) => [processName(by), (row) => said(row, by)]),
  ], rows.length);
  if (pages.size > rows.length) {
    document.getElementById("sharing").append(element("p", `and ${count(pages.size - rows.length)} more processes; mapfs report --json has all`, "about"));
  }
}
