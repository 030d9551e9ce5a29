// Filter tables and galleries by text: what has not all of the words is hidden.
function filterOver(place, items, what) {
  const label = document.createElement("label");
  label.className = "filter";
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = `Filter ${what}`;
  input.setAttribute("aria-label", `Filter ${what} by text`);
  label.append(input);
  place.before(label);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const item of items) {
      const text = item.textContent.toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
    }
  });
}

for (const table of document.querySelectorAll("table.filterable")) {
  filterOver(table.closest(".pst-scrollable-table-container") || table, table.tBodies[0].rows, "this table");
}
for (const place of document.querySelectorAll(".filter-cards")) {
  filterOver(place, document.querySelectorAll("ul.gallery > li"), "tricks");
}
