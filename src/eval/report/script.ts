/**
 * The page's own script: finding and ordering examples, and reading values off the charts. The page is complete without
 * it. Plain JavaScript in one string, because it is hashed into the page's security policy and sent as it is.
 */
import { openRows } from "./examples.ts";

export const reportScript = `(() => {
  "use strict";
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  const groups = all(".group").map((group) => ({ lists: all(".cases", group), details: group.querySelector("details") }));
  const cases = all(".case").map((element) => ({
    element,
    words: all(".words", element).map((part) => part.textContent).join(" ").toLowerCase(),
    query: element.querySelector("h4").textContent,
    change: Math.abs(Number(element.dataset.change)),
    after: Number(element.dataset.after),
  }));
  const byElement = new Map(cases.map((entry) => [entry.element, entry]));
  const collator = new Intl.Collator(undefined, { numeric: true });
  const orders = {
    change: (a, b) => b.change - a.change,
    words: (a, b) => collator.compare(a.query, b.query),
    after: (a, b) => b.after - a.after || b.change - a.change,
  };
  const controls = document.querySelector(".controls");
  if (controls) {
    const find = document.getElementById("find");
    const order = document.getElementById("order");
    const found = document.getElementById("found");
    controls.hidden = false;
    order.addEventListener("change", () => {
      for (const { lists } of groups) {
        const entries = lists.flatMap((list) => Array.from(list.children, (element) => byElement.get(element)));
        entries.sort(orders[order.value]);
        const first = lists.length > 1 ? ${openRows} : entries.length;
        lists.forEach((list, i) => {
          const part = i === 0 ? entries.slice(0, first) : entries.slice(first);
          list.append(...part.map((entry) => entry.element));
        });
      }
    });
    let opened = [];
    const apply = () => {
      const wanted = find.value.trim().toLowerCase();
      let count = 0;
      for (const entry of cases) {
        const keep = entry.words.includes(wanted);
        entry.element.hidden = !keep;
        if (keep) count++;
      }
      if (wanted === "") {
        for (const details of opened) details.open = false;
        opened = [];
      } else {
        for (const { details } of groups) {
          if (details && !details.open) {
            details.open = true;
            opened.push(details);
          }
        }
      }
      found.textContent = wanted === "" ? "" : count === 1 ? "1 query" : count.toLocaleString("en-US") + " queries";
    };
    let timer = 0;
    find.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(apply, 120);
    });
  }

  for (const chart of all(".chart")) {
    const svg = chart.querySelector("svg");
    const line = chart.querySelector(".cursor");
    const dot = chart.querySelector(".cursor-dot");
    const readout = chart.querySelector(".readout");
    const targets = all(".target", chart).map((target) => ({
      x: Number(target.getAttribute("cx")),
      y: Number(target.getAttribute("cy")),
      text: target.textContent.trim(),
    }));
    if (targets.length === 0) continue;
    let current = targets.length - 1;
    const show = (index) => {
      current = Math.min(targets.length - 1, Math.max(0, index));
      const { x, y, text } = targets[current];
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", y);
      for (const mark of [line, dot]) mark.setAttribute("visibility", "visible");
      readout.textContent = text;
    };
    const hide = () => {
      for (const mark of [line, dot]) mark.setAttribute("visibility", "hidden");
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      let nearest = 0;
      targets.forEach((target, i) => {
        if (Math.abs(target.x - x) < Math.abs(targets[nearest].x - x)) nearest = i;
      });
      show(nearest);
    });
    svg.addEventListener("pointerleave", hide);
    svg.setAttribute("tabindex", "0");
    readout.setAttribute("aria-live", "polite");
    svg.addEventListener("focus", () => show(current));
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: targets.length - 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      show(moves[event.key]);
    });
  }
})();
`;
