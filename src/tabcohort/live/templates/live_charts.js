"use strict";
// Charts as SVG: text goes in as text, so that no name can be anything else.
const Charts = (() => {
  const LEFT = 66,
    RIGHT = 14,
    TOP = 12,
    BOTTOM = 40,
    MAX_POINTS = 260,
    MAX_TICKS = 50;

  function node(name, attributes = {}, text = null) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== null) element.textContent = text;
    return element;
  }

  function number(value) {
    if (value === null || !Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    const text =
      size !== 0 && (size < 1e-4 || size >= 1e5)
        ? String(Number(value.toPrecision(2)).toExponential())
        : String(Number(value.toPrecision(3)));
    return text.replaceAll("-", "−");
  }

  function linearTicks(low, high, n) {
    const rough = (high - low) / n,
      power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    const first = Math.ceil(low / step - 1e-9),
      last = high + 1e-9 * Math.abs(high),
      ticks = [];
    // The count is bounded, as steps that are small beside their place do not move on.
    for (let i = 0; i < MAX_TICKS && (first + i) * step <= last; i += 1) ticks.push((first + i) * step);
    return ticks;
  }

  function logTicks(low, high) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const factor of [1, 2, 5]) {
        const value = factor * 10 ** power;
        if (value >= low && value <= high) ticks.push(value);
      }
    }
    if (ticks.length > 7) return ticks.filter((value) => Number.isInteger(Math.round(1e6 * Math.log10(value)) / 1e6));
    return ticks.length < 2 ? linearTicks(low, high, 4) : ticks;
  }

  function extent(series, isLog) {
    let low = Infinity,
      high = -Infinity;
    for (const values of series) {
      for (const value of values) {
        if (value === null || !Number.isFinite(value) || (isLog && value <= 0)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (low > high || (low === 0 && high === 0)) return isLog ? [0.1, 1] : [0, 1];
    if (isLog) return low === high ? [low / 1.5, high * 1.5] : [low / 1.06, high * 1.06];
    const size = Math.max(Math.abs(low), Math.abs(high));
    const pad = Math.max((high - low) * 0.05 || size * 0.1, 1e-6 * size) || 1;
    return [low - pad, high + pad];
  }

  // An area of a chart with its scales; `draw` fills the SVG element.
  class Axes {
    constructor(svg, { x, y, isLog = false, xLabel = "epoch", yLabel = "", height = 300 }) {
      this.svg = svg;
      this.width = Math.max(220, Math.floor(svg.parentElement.clientWidth));
      Object.assign(this, { x: x[0] === x[1] ? [x[0], x[0] + 1] : x, y, isLog, xLabel, yLabel, height });
      this.parts = [];
    }

    across(value) {
      return LEFT + ((value - this.x[0]) / (this.x[1] - this.x[0])) * (this.width - LEFT - RIGHT);
    }

    down(value) {
      const scale = this.isLog ? Math.log : (number) => number;
      const clipped = Math.min(Math.max(value, this.y[0]), this.y[1]);
      const share = (scale(clipped) - scale(this.y[0])) / (scale(this.y[1]) - scale(this.y[0]));
      return this.height - BOTTOM - share * (this.height - TOP - BOTTOM);
    }

    path(xs, ys, n) {
      const step = Math.max(1, Math.ceil(n / MAX_POINTS));
      let text = "",
        isPen = false;
      for (let i = 0; i < n; i = i < n - 1 && i + step > n - 1 ? n - 1 : i + step) {
        if (ys[i] === null) {
          isPen = false;
          continue;
        }
        text += `${isPen ? "L" : "M"}${this.across(xs[i]).toFixed(1)},${this.down(ys[i]).toFixed(1)}`;
        isPen = true;
      }
      return n === 1 && text ? `${text}h.1` : text;
    }

    line(xs, ys, n, name) {
      if (n > 0) this.parts.push(node("path", { class: `curve ${name}`, d: this.path(xs, ys, n) }));
    }

    band(xs, lows, highs, name) {
      if (xs.length < 2) return;
      const there = xs.map((x, i) => `${this.across(x).toFixed(1)},${this.down(highs[i]).toFixed(1)}`);
      const back = xs.map((x, i) => `${this.across(x).toFixed(1)},${this.down(lows[i]).toFixed(1)}`).reverse();
      this.parts.push(node("path", { class: `area ${name}`, d: `M${there.join("L")}L${back.join("L")}Z` }));
    }

    span(from, to, name) {
      const left = this.across(from),
        width = Math.max(0, this.across(to) - left);
      this.parts.push(node("rect", { class: name, x: left, y: TOP, width, height: this.height - TOP - BOTTOM }));
    }

    dot(x, y, name, radius = 4) {
      this.parts.push(node("circle", { class: name, cx: this.across(x), cy: this.down(y), r: radius }));
    }

    mark(x, name, label = "") {
      const at = this.across(x),
        isRight = at > this.width * 0.6;
      this.parts.push(node("path", { class: name, d: `M${at},${TOP}V${this.height - BOTTOM}` }));
      if (label)
        this.parts.push(
          node(
            "text",
            { class: "mark-text", x: at + (isRight ? -6 : 6), y: TOP + 11, "text-anchor": isRight ? "end" : "start" },
            label,
          ),
        );
    }

    draw(alt) {
      const { width, height } = this,
        bottom = height - BOTTOM,
        parts = [];
      const xTicks = linearTicks(this.x[0], this.x[1], Math.max(3, Math.floor(width / 75))).filter(Number.isInteger);
      for (const value of xTicks) {
        parts.push(node("path", { class: "grid-line", d: `M${this.across(value)},${TOP}V${bottom}` }));
        parts.push(node("text", { x: this.across(value), y: bottom + 15, "text-anchor": "middle" }, number(value)));
      }
      for (const value of this.isLog ? logTicks(...this.y) : linearTicks(...this.y, height < 200 ? 3 : 5)) {
        parts.push(node("path", { class: "grid-line", d: `M${LEFT},${this.down(value)}H${width - RIGHT}` }));
        parts.push(node("text", { x: LEFT - 6, y: this.down(value) + 4, "text-anchor": "end" }, number(value)));
      }
      parts.push(node("path", { class: "axis", d: `M${LEFT},${TOP}V${bottom}H${width - RIGHT}` }), ...this.parts);
      parts.push(node("text", { x: (LEFT + width - RIGHT) / 2, y: height - 6, "text-anchor": "middle" }, this.xLabel));
      const middle = (TOP + bottom) / 2;
      parts.push(
        node("text", { x: 11, y: middle, "text-anchor": "middle", transform: `rotate(-90 11 ${middle})` }, this.yLabel),
      );
      this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      this.svg.setAttribute("height", height);
      this.svg.setAttribute("role", "img");
      this.svg.setAttribute("aria-label", alt);
      this.svg.replaceChildren(...parts);
    }
  }

  return { Axes, extent, number };
})();
