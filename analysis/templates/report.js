// Sorts a table by the column whose heading is pressed. Rows without a value stay last either way.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, table = head.closest("table");
    const place = head.cellIndex, isUp = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
    const order = (body) => body.rows[0].cells[place].dataset.order;
    const compare = (a, b) => {
      const [x, y] = [order(a), order(b)];
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      const difference = head.classList.contains("number") ? x - y : x.localeCompare(y);
      return isUp ? difference : -difference;
    };
    table.append(...[...table.tBodies].sort(compare));
  });
}
// Printed pages show what is folded away.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
