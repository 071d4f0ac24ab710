"""The script of the evaluation's page: tables that sort, and curves of the class that is chosen."""

SCRIPT = """
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  heads.forEach((head, column) => {
    const number = head.classList.contains("number");
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const falling = before ? before === "ascending" : number;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const compare = (a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        if (!number) return falling ? y.localeCompare(x) : x.localeCompare(y);
        if (x === "" || y === "") return (x === "") - (y === "");
        return falling ? y - x : x - y;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
const chooser = document.getElementById("curve-class");
if (chooser) {
  const curves = JSON.parse(document.getElementById("curves").textContent);
  const original = new Map();
  for (const line of document.querySelectorAll("svg[data-chart] polyline")) {
    original.set(line, line.getAttribute("points"));
  }
  const show = () => {
    for (const [kind, classes] of Object.entries(curves)) {
      const lines = document.querySelectorAll(`svg[data-chart="${kind}"] polyline`);
      lines.forEach((line, number) => {
        const values = chooser.value === "" ? null : classes[Number(chooser.value)][number];
        line.setAttribute("points", values === null ? original.get(line)
          : values.map((value, place) => `${place / 100},${value / 1000}`).join(" "));
      });
    }
  };
  chooser.addEventListener("change", show);
  chooser.disabled = false;
  show();
}
"""
