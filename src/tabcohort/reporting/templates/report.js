(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("thresholds").textContent);
  const slider = document.getElementById("threshold");
  if (!slider || !data.classes.length) return;
  document.documentElement.classList.add("has-script");
  const byId = (id) => document.getElementById(id);
  const choice = byId("class"), missed = byId("cost-missed"), alarm = byId("cost-alarm");
  const percent = (share) => (share === null ? "–" : (100 * share).toFixed(1) + "%");
  const rows = (weight) => (Number.isInteger(weight) || weight >= 1000 ? Math.round(weight) : Math.round(10 * weight) / 10).toLocaleString("en-US");
  const cost = (input) => Math.max(0, Number(input.value) || 0);
  const costOf = (confusion) => cost(missed) * confusion[1] + cost(alarm) * confusion[2];
  const show = (id, text) => { byId(id).textContent = text; };

  function move(mark, own, at, threshold) {
    const [left, right, low, high, x0, x1, y0, y1] = mark.ownerSVGElement.dataset.scale.split(" ").map(Number);
    const across = (x) => left + ((x - x0) / (x1 - x0)) * (right - left);
    const down = (y) => low + ((y - y0) / (y1 - y0)) * (high - low);
    const rate = (name) => own[name][at][0];
    if (mark.dataset.mark === "line") {
      mark.setAttribute("d", `M${across(threshold)},${down(y0)}V${down(y1)}`);
      return;
    }
    const [x, y] = mark.dataset.mark === "roc" ? [1 - rate("specificity"), rate("sensitivity")] : [rate("sensitivity"), rate("precision")];
    mark.setAttribute("visibility", y === null ? "hidden" : "visible");
    mark.setAttribute("cx", across(x));
    mark.setAttribute("cy", down(y === null ? 0 : y));
  }

  function update() {
    const at = slider.value - 1, threshold = slider.value / 100, place = choice ? Number(choice.value) : 0;
    const own = data.classes[place], [hits, misses, alarms, rest] = own.confusion[at], total = hits + misses + alarms + rest;
    show("threshold-value", threshold.toFixed(2));
    slider.setAttribute("aria-valuetext", `probability ${threshold.toFixed(2)}`);
    for (const element of document.querySelectorAll("[data-label]")) element.textContent = own.label;
    show("true-positive", rows(hits)); show("false-negative", rows(misses));
    show("false-positive", rows(alarms)); show("true-negative", rows(rest));
    for (const name of ["sensitivity", "specificity", "precision", "accuracy"]) {
      const [value, low, high] = own[name][at];
      show(`rate-${name}`, value === null ? "–" : `${percent(value)} (${percent(low)} to ${percent(high)})`);
    }
    const costs = own.confusion.map(costOf), best = costs.indexOf(Math.min(...costs)), per = 100 / total;
    show("cost", (costs[at] * per).toFixed(2));
    show("cost-none", (cost(missed) * (hits + misses) * per).toFixed(2));
    show("cost-all", (cost(alarm) * (alarms + rest) * per).toFixed(2));
    show("cheapest", ((best + 1) / 100).toFixed(2));
    show("cost-cheapest", (costs[best] * per).toFixed(2));
    show("net-benefit", own.netBenefit[at].toFixed(4));
    for (const mark of document.querySelectorAll(`[data-mark][data-place="${place}"]`)) move(mark, own, at, threshold);
  }

  for (const input of [slider, choice, missed, alarm]) if (input) input.addEventListener("input", update);
  byId("go-cheapest").addEventListener("click", () => {
    slider.value = Math.round(100 * Number(byId("cheapest").textContent));
    update();
  });
  update();
})();
