// The switch of themes, copy buttons, arrow keys in the calendar, and lists that show a page at a time. Values go in as text only.
"use strict";

const PAGE = 50;

function themeSwitch(button) {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("sluice-theme", root.dataset.theme);
    } catch (error) {
      console.info("the theme is not kept", error.name);
    }
    show();
  });
  system.addEventListener("change", show);
  show();
}

function copyButton(button) {
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      const range = document.createRange();
      range.selectNodeContents(button.previousElementSibling);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand("copy");
    }
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
}

// One stop for the tab key, arrows from there; the newest days are seen first.
function calendar(box) {
  const rows = [...box.querySelectorAll("tbody tr")].map((row) => [...row.cells].slice(1).map((cell) => cell.querySelector("a")));
  const cells = rows.flat().filter(Boolean);
  cells.forEach((cell) => (cell.tabIndex = -1));
  if (cells.length) cells[cells.length - 1].tabIndex = 0;
  box.scrollLeft = box.scrollWidth;
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  box.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    let row = rows.findIndex((each) => each.includes(document.activeElement));
    if (!step || row < 0) return;
    event.preventDefault();
    let column = rows[row].indexOf(document.activeElement);
    do {
      row += step[0];
      column += step[1];
    } while (rows[row] && column >= 0 && column < rows[row].length && !rows[row][column]);
    const target = rows[row] && rows[row][column];
    if (!target) return;
    cells.forEach((cell) => (cell.tabIndex = -1));
    target.tabIndex = 0;
    target.focus();
  });
}

function paged(section) {
  const data = JSON.parse(document.getElementById(section.dataset.source).textContent);
  const body = section.querySelector("tbody");
  const form = section.querySelector("form");
  const status = section.querySelector("output");
  const texts = data.rows.map((row) => [row[0], row[3], ...data.expectations[row[1]]].join(" ").toLowerCase());
  const last = () => Math.max(0, Math.ceil(found.length / PAGE) - 1);
  let found = [];
  let page = 0;
  const cell = (row, text, name) => {
    const made = row.insertCell();
    made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  const show = () => {
    body.replaceChildren();
    for (const number of found.slice(page * PAGE, (page + 1) * PAGE)) {
      const [day, which, passed, seen] = data.rows[number];
      const [name, severity, asked, note] = data.expectations[which];
      const row = body.insertRow();
      if (!passed) row.className = severity === "critical" ? "bad" : "warn";
      const link = document.createElement("a");
      link.href = `${day}.html#gate`;
      link.textContent = day;
      cell(row, "").append(link);
      cell(row, passed ? "passed" : "failed");
      cell(row, name, "words");
      cell(row, seen, "words");
      cell(row, asked, "words");
      cell(row, note ? `${severity}: ${note}` : severity, "words");
    }
    const from = found.length ? page * PAGE + 1 : 0;
    const to = Math.min((page + 1) * PAGE, found.length);
    status.textContent = `${from.toLocaleString("en")} to ${to.toLocaleString("en")} of ${found.length.toLocaleString("en")}`;
    for (const name of ["first", "before"]) section.querySelector(`[name=${name}]`).disabled = page === 0;
    for (const name of ["next", "last"]) section.querySelector(`[name=${name}]`).disabled = page >= last();
  };
  const search = () => {
    const words = form.elements.find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const failed = form.elements.failed.checked;
    found = [];
    texts.forEach((text, number) => {
      if ((!failed || !data.rows[number][2]) && words.every((word) => text.includes(word))) found.push(number);
    });
    page = 0;
    show();
  };
  const turns = { first: () => 0, before: () => page - 1, next: () => page + 1, last };
  for (const [name, turn] of Object.entries(turns)) {
    section.querySelector(`[name=${name}]`).addEventListener("click", () => {
      page = Math.min(Math.max(turn(), 0), last());
      show();
    });
  }
  form.addEventListener("input", search);
  form.addEventListener("submit", (event) => event.preventDefault());
  search();
}

themeSwitch(document.getElementById("theme"));
document.querySelectorAll(".copy").forEach(copyButton);
document.querySelectorAll(".calendar").forEach(calendar);
document.querySelectorAll(".paged").forEach(paged);
