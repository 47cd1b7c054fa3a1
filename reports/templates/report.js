"use strict";
// Without this script the page lacks nothing but these two: columns that sort, and, in older
// browsers, that a link opens the box that holds its place.

/** The number that a cell stands for, NaN where it has none. */
function numberIn(cell) {
  return parseFloat(cell.dataset.value ?? cell.textContent.trim().replaceAll(",", "").replace("−", "-"));
}

/** Orders two rows by a column; `sign` is 1 for ascending. What has no value comes last. */
function order(column, isNumber, sign) {
  return (a, b) => {
    const [x, y] = [a.cells[column], b.cells[column]];
    if (!isNumber) return sign * x.textContent.localeCompare(y.textContent, "en", { numeric: true });
    const [one, other] = [numberIn(x), numberIn(y)];
    return Number.isNaN(one) - Number.isNaN(other) || sign * (one - other) || 0;
  };
}

/** A click sorts by the column, best first; the next turns it round; the third undoes it. */
function makeSortable(table) {
  // Rows stay in their group: speed and memory are ranked among equal weights only. Tables of fidelity
  // and answers are one group: what the weights cost is what they show.
  const groups = [...table.tBodies].map((body) => ({
    body,
    rows: [...body.rows].filter((row) => !row.querySelector("th[scope=rowgroup]")),
  }));
  if (groups.every(({ rows }) => rows.length < 2)) return;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const ways = head.dataset.better === "higher" ? ["descending", "ascending"] : ["ascending", "descending"];
    button.addEventListener("click", () => {
      const way = ways[ways.indexOf(head.getAttribute("aria-sort")) + 1];
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      if (way) head.setAttribute("aria-sort", way);
      const sign = way === "descending" ? -1 : 1;
      const by = order(column, head.classList.contains("number"), sign);
      groups.forEach(({ body, rows }) => body.append(...(way ? [...rows].sort(by) : rows)));
    });
  });
}

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  let box = target?.closest("details");
  if (!box) return;
  for (; box; box = box.parentElement.closest("details")) box.open = true;
  target.scrollIntoView();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
addEventListener("hashchange", openTarget);
openTarget();
