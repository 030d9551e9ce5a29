// Every run is a dot. Filters stand in the address after #, so that a view can be linked.
(() => {
  const root = document.getElementById("explorer");
  const find = (query) => root.querySelector(query);
  const [svg, form, said, table] = ["svg", "form", ".said", "table"].map(find);
  const FILTERS = ["regime", "network", "trick"], AXES = { seconds: "s", parameters: "parameters", macs: "multiply-adds" };
  const COLOURS = ["#3a86c8", "#e07b00", "#1b9e77", "#cc4c8b", "#8f8418", "#7a7f87"];
  const SHAPES = ["M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", "M-4.5-4.5h9v9h-9z", "M0-6L5.5 4h-11z", "M0-6L6 0L0 6L-6 0z"];
  const regimes = [...new Set(RUNS.map((run) => run.regime))];
  const look = (regime) => { const i = regimes.indexOf(regime); return [COLOURS[i % 6], SHAPES[i % 4]]; };
  const short = (n) => n >= 1e9 ? n / 1e9 + " G" : n >= 1e6 ? n / 1e6 + " M" : n >= 1e3 ? n / 1e3 + " k" : String(n);
  const near = (n) => short(Number(n.toPrecision(3)));
  const say = (run, x) => `${run.trick}: ${run.accuracy.toFixed(1)} %` + (run.low === null ? ", one seed" :
    `, mean of ${run.seeds} seeds ${run.low.toFixed(1)} to ${run.high.toFixed(1)} %`) +
    `; ${run.network}, ${run.regime}, seed ${run.seed}, ${near(run[x])} ${AXES[x]}`;
  const make = (parent, name, attributes, text) => {
    const node = document.createElementNS(parent.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  };

  for (const name of FILTERS) {
    make(form[name], "option", { value: "" }, "all");
    for (const value of [...new Set(RUNS.map((run) => run[name]))].sort()) make(form[name], "option", { value }, value);
  }
  const read = () => {
    const view = new URLSearchParams(location.hash.slice(1));
    for (const name of [...FILTERS, "x"]) {
      const wanted = view.get(name) || "", there = [...form[name].options].some((option) => option.value === wanted);
      form[name].value = there ? wanted : form[name].options[0].value;
    }
    draw();
  };
  const write = () => {
    const view = [...FILTERS, "x"].filter((name) => form[name].value && form[name].value !== "seconds");
    history.replaceState(null, "", "#" + new URLSearchParams(view.map((name) => [name, form[name].value])));
    draw();
  };

  function ticks(low, high) { // 1, 2, 5, 10 ... within the range; few of them where it is wide
    const found = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) for (const m of [1, 2, 5]) found.push(m * 10 ** e);
    const inside = found.filter((tick) => tick >= low && tick <= high);
    return inside.length > 7 ? inside.filter((tick) => /^1(0*|e.*)$/.test(String(tick)) || tick < 1 && /1$/.test(String(tick))) : inside;
  }

  function draw() {
    const x = form.x.value, chosen = RUNS.filter((run) => FILTERS.every((name) => !form[name].value || run[name] === form[name].value));
    const runs = chosen.filter((run) => run[x] > 0).sort((a, b) => a[x] - b[x]);
    const left = chosen.length - runs.length, width = svg.clientWidth || 600, height = svg.clientHeight || 420;
    find(".count").textContent = `${runs.length} of ${RUNS.length} runs` + (left ? `; ${left} more without a count of ${AXES[x]}` : "");
    svg.replaceChildren();
    table.replaceChildren();
    if (!runs.length) return void make(svg, "text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "No run fits these filters.");
    const xs = runs.map((run) => run[x]), ys = runs.flatMap((run) => [run.accuracy, run.low ?? run.accuracy, run.high ?? run.accuracy]);
    const [a, b] = [Math.min(...xs) / 1.2, Math.max(...xs) * 1.2].map(Math.log);
    const low = Math.max(0, Math.min(...ys) - 2), high = Math.min(100, Math.max(...ys) + 2);
    const X = (value) => 44 + (Math.log(value) - a) / (b - a) * (width - 56), Y = (value) => height - 40 - (value - low) / (high - low) * (height - 64);
    const step = [1, 2, 5, 10, 20].find((each) => (high - low) / each <= 6);
    for (let y = Math.ceil(low / step) * step; y <= high; y += step) {
      make(svg, "line", { class: "grid", x1: 44, x2: width - 12, y1: Y(y), y2: Y(y) });
      make(svg, "text", { x: 36, y: Y(y) + 4, "text-anchor": "end" }, y);
    }
    for (const tick of ticks(Math.exp(a), Math.exp(b))) make(svg, "text", { x: X(tick), y: height - 22, "text-anchor": "middle" }, short(tick));
    make(svg, "text", { x: 4, y: 12 }, "test accuracy, %");
    make(svg, "text", { x: width - 12, y: height - 4, "text-anchor": "end" }, form.x.selectedOptions[0].text);
    for (const run of runs) if (run.low !== null)
      make(svg, "line", { class: "bar", stroke: look(run.regime)[0], x1: X(run[x]), x2: X(run[x]), y1: Y(run.low), y2: Y(run.high) });
    const dots = runs.map((run, i) => {
      const [fill, d] = look(run.regime), label = say(run, x);
      const dot = make(svg, "path", { class: "dot", d, fill, role: "img", "aria-label": label, tabindex: i ? -1 : 0, transform: `translate(${X(run[x])} ${Y(run.accuracy)})` });
      make(dot, "title", {}, label);
      dot.onfocus = () => { dots.forEach((other) => { other.tabIndex = other === dot ? 0 : -1; }); said.textContent = label; };
      dot.onmouseenter = () => { said.textContent = label; };
      dot.onkeydown = (event) => {
        const to = { ArrowRight: i + 1, ArrowUp: i + 1, ArrowLeft: i - 1, ArrowDown: i - 1, Home: 0, End: runs.length - 1 }[event.key];
        if (to !== undefined) { event.preventDefault(); dots[Math.max(0, Math.min(to, runs.length - 1))].focus(); }
      };
      return dot;
    });
    const heads = ["regime", "network", "trick", "seed", "accuracy", "low", "high", "seconds", "parameters", "macs"];
    const head = make(make(table, "thead", {}), "tr", {});
    for (const name of heads) make(head, "th", { scope: "col" }, name);
    const rows = make(table, "tbody", {});
    for (const run of runs) { const row = make(rows, "tr", {}); for (const name of heads) make(row, "td", {}, run[name] ?? ""); }
    const legend = find(".legend");
    legend.replaceChildren();
    for (const regime of regimes.filter((each) => runs.some((run) => run.regime === each))) {
      const item = make(legend, "li", {}), [fill, d] = look(regime);
      const icon = item.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
      for (const [key, value] of [["viewBox", "-7 -7 14 14"], ["aria-hidden", "true"]]) icon.setAttribute(key, value);
      make(icon, "path", { d, fill });
      item.append(regime);
    }
  }

  form.addEventListener("change", write);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(write));
  addEventListener("hashchange", read);
  let before = 0;
  new ResizeObserver(() => { if (svg.clientWidth !== before) { before = svg.clientWidth; draw(); } }).observe(svg);
  read();
})();
