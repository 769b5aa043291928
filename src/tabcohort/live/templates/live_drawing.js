// The page, drawn from what is known of the run: text goes in as text.
// -- what is there once per run ------------------------------------------------------------------------------------

function build() {
  show("title", `Training: ${start.target}`);
  document.title = `Training: ${start.target} - tabcohort`;
  show(
    "about",
    `${count(start.n_rows, "row")}; ${count(start.configs.length, "config")}, ${count(members.length, "member")}; begun ${start.began.replace("T", " ").replace("Z", " UTC")}; tabcohort ${start.version}`,
  );
  if (start.configs.length === 1) byId("colour").value = members.some((item) => item.fold > 0) ? "fold" : "config";
  const groups = start.configs.map((_, config) => {
    const group = document.createElement("div"),
      title = document.createElement("h3"),
      cells = document.createElement("div");
    group.className = "config";
    cells.className = "cells";
    const swatch = document.createElement("span");
    swatch.className = `swatch h${config % MAX_COLOURS} by-config`;
    const [kind, settings] = partsOf(config),
      more = document.createElement("small");
    more.textContent = settings;
    title.append(swatch, kind, " ", more);
    members.forEach((member, place) => {
      if (member.config === config) cells.append(cellOf(member, place));
    });
    group.append(title, cells);
    return group;
  });
  byId("members").replaceChildren(byId("members").firstElementChild, ...groups);
  colour();
}

function colour() {
  document.body.dataset.colour = byId("colour").value;
  buildLegend();
}

function cellOf(member, place) {
  const label = document.createElement("label"),
    input = document.createElement("input");
  label.className = "cell-of-member";
  input.type = "radio";
  input.name = "member";
  input.value = place;
  input.checked = place === selected;
  input.addEventListener("change", () => {
    selected = place;
    isChosen = true;
    draw();
    ask();
  });
  const mark = document.createElement("span"),
    best = document.createElement("span"),
    value = document.createElement("span"),
    said = document.createElement("span");
  mark.className = "mark";
  best.className = "best-epoch";
  value.className = "value";
  said.className = "hidden";
  for (const part of [mark, best, value]) part.setAttribute("aria-hidden", "true");
  label.append(input, mark, best, value, said);
  member.cell = { label, input, mark, best, value, said };
  return label;
}

function buildLegend() {
  const isFold = byId("colour").value === "fold",
    names = isFold
      ? [...new Set(members.map((item) => item.fold))].sort((a, b) => a - b)
      : start.configs.map((_, place) => place);
  hidden = new Set();
  byId("legend").replaceChildren(
    ...names.map((place) => {
      const item = document.createElement("li"),
        label = document.createElement("label"),
        box = document.createElement("input"),
        swatch = document.createElement("span");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(place);
        else hidden.add(place);
        draw();
      });
      swatch.className = `swatch h${place % MAX_COLOURS}`;
      const name = isFold ? `fold ${place + 1}` : partsOf(place)[0];
      label.append(box, swatch, name);
      item.append(label);
      return item;
    }),
  );
}

// -- drawing -------------------------------------------------------------------------------------------------------

// A run of hundreds of members takes longer to draw, and is drawn less often.
function draw() {
  const began = performance.now();
  frame = 0;
  drawAll();
  drawnAt = performance.now();
  drawMs = Math.max(DRAW_MS, 2 * (drawnAt - began));
}

function drawAll() {
  if (isFollowing) now = Infinity;
  const states = members.map(at);
  if (!isChosen && members.length) choose(states);
  drawTransport();
  if (!start) return;
  drawTiles(states);
  drawLosses(states);
  drawCells(states);
  drawMember(members[selected], states[selected]);
  drawLayers(members[selected], states[selected]);
  drawTable(states);
}

// Until somebody selects a member, it is a network that trains now, or when none does the network of the lowest loss.
function choose(states) {
  const isNetwork = (place) => start.kinds[members[place].config] === "network",
    before = selected;
  const lossAt = (place) =>
    states[place].n && states[place].status !== "dropped"
      ? members[place].val[states[place].best] + (isNetwork(place) ? 0 : 1e6)
      : Infinity;
  if (!isNetwork(selected) || states[selected].status !== "training") {
    const training = members.findIndex((_, place) => isNetwork(place) && states[place].status === "training");
    if (training >= 0) selected = training;
    else if (end && end.at <= now)
      selected = members.reduce((best, _, place) => (lossAt(place) < lossAt(best) ? place : best), 0);
    else if (!states[selected].n)
      selected = Math.max(
        0,
        states.findIndex((item) => item.n > 0),
      );
  }
  if (selected !== before || !members[selected].cell.input.checked) {
    members[selected].cell.input.checked = true;
    ask();
  }
}

function drawTransport() {
  const shown = Math.min(now, duration),
    chip = byId("chip");
  const isLive = isOpen && !end && !isLost;
  const text = !start
    ? isLost
      ? "no connection"
      : "waiting for training to begin"
    : isFollowing && isLive
      ? "live"
      : isPlaying
        ? "replay"
        : isLost && !end
          ? "no connection"
          : end && shown >= end.at
            ? end.reason
              ? ({ interrupted: "interrupted", budget: "budget spent", failed: "failed" }[end.reason] ?? "ended")
              : "ended"
            : isLive
              ? "earlier"
              : !isOpen && !end && shown >= duration
                ? "the recording ends here"
                : "paused";
  if (chip.textContent !== text) {
    chip.textContent = text;
    chip.className = `chip ${isFollowing && isLive && start ? "is-live" : ""}`;
    show("status", text);
  }
  for (const id of ["play", "seek"]) byId(id).disabled = !start;
  byId("latest").disabled = !start || isFollowing;
  show("latest", isLive ? "Live" : "Latest");
  show("play", isPlaying ? "Pause" : "Play");
  const seek = byId("seek");
  if (document.activeElement !== seek || isPlaying || isFollowing)
    seek.value = duration ? Math.round((1000 * shown) / duration) : 1000;
  const words = `${shown.toFixed(1)} s of ${duration.toFixed(1)} s`;
  seek.setAttribute("aria-valuetext", words);
  show("time", words);
}

function drawTiles(states) {
  const active = states.filter((item) => item.status !== "dropped"),
    done = active.filter((item) => item.status === "done").length;
  show("tile-done", `${done} of ${active.length}`);
  byId("tile-bar").value = active.length ? done / active.length : 0;
  show("tile-epochs", states.reduce((sum, item) => sum + item.n, 0).toLocaleString("en-US"));
  show("tile-epochs-note", "of all members");
  const means = start.configs.map((_, config) => {
    const losses = members.flatMap((member, place) =>
      member.config === config && states[place].n ? [member.val[states[place].best]] : [],
    );
    return losses.length ? losses.reduce((sum, value) => sum + value, 0) / losses.length : Infinity;
  });
  const lowest = Math.min(...means);
  show("tile-best", Number.isFinite(lowest) ? loss(lowest) : "–");
  show(
    "tile-best-note",
    !Number.isFinite(lowest)
      ? ""
      : means.length > 1
        ? `mean of config ${means.indexOf(lowest) + 1} at best epochs`
        : "mean at best epochs",
  );
  const over = states.filter((item) => item.rise > 0 && item.status === "training").length,
    ended = states.filter((item) => item.rise > 0).length;
  show("tile-over", over ? `${over} now` : ended ? `${ended} of ${states.length}` : "none");
  show(
    "tile-over-note",
    over
      ? `${over === 1 ? "its" : "their"} validation loss rises, the training loss falls`
      : ended
        ? "had begun to when training stopped; the weights of the best epochs are kept"
        : "",
  );
  const left = lefts.findLast((item) => item.at <= now),
    isOver = end && end.at <= now;
  show("tile-left-name", isOver ? "Training took" : "Time left");
  show(
    "tile-left",
    isOver ? `${end.at.toFixed(1)} s` : left && left.left !== null ? `about ${Math.ceil(left.left)} s` : "–",
  );
  show("tile-left-note", isOver ? "" : `${Math.min(now, duration).toFixed(0)} s since it began`);
}

function drawLosses(states) {
  const what = byId("show").value,
    isLog = byId("log").checked,
    isFold = byId("colour").value === "fold",
    series = [];
  let maxEpoch = 1;
  const visible = members.map(
    (member, place) => states[place].n > 0 && !hidden.has(isFold ? member.fold : member.config),
  );
  members.forEach((member, place) => {
    if (!visible[place]) return;
    const n = states[place].n;
    maxEpoch = Math.max(maxEpoch, n);
    if (what !== "train") series.push(member.val.slice(0, n));
    if (what !== "val") series.push(member.train.slice(0, n));
  });
  const axes = new Axes(byId("losses"), {
    x: [1, maxEpoch],
    y: extent(series, isLog),
    isLog,
    yLabel: "loss",
    height: 360,
  });
  const order = members.map((_, place) => place).filter((place) => visible[place] && place !== selected);
  if (visible[selected]) order.push(selected);
  for (const place of order) {
    const member = members[place],
      state = states[place];
    const name = `h${hueOf(member)} ${state.status === "dropped" ? "is-dropped" : ""} ${place === selected ? "is-selected" : ""}`;
    if (what !== "val") axes.line(member.epochs, member.train, state.n, `train ${name}`);
    if (what !== "train") axes.line(member.epochs, member.val, state.n, `val ${name}`);
  }
  for (const place of order) {
    const member = members[place],
      state = states[place],
      values = what === "train" ? member.train : member.val;
    axes.dot(
      member.epochs[state.best],
      values[state.best],
      `best-dot h${hueOf(member)} ${place === selected ? "is-selected" : ""}`,
      place === selected ? 6 : 3.5,
    );
  }
  const n = states.filter((item) => item.n > 0).length;
  axes.draw(
    `Losses by epoch of ${count(n, "member")}, up to epoch ${maxEpoch}; the table of all members below has their best epochs`,
  );
}

function drawCells(states) {
  const seen = new Map();
  members.forEach((member, place) => {
    const state = states[place],
      isOver = state.rise > 0 && state.status === "training",
      { label, mark, best, value, said } = member.cell;
    const kind = isOver ? "overfitting" : state.status,
      name = `cell-of-member is-${kind}${place === selected ? " is-selected" : ""}`;
    if (label.className !== name) label.className = name;
    const texts = [
      isOver ? "▲" : MARKS[state.status],
      state.n ? String(member.epochs[state.best]) : "",
      state.n ? member.val[state.best].toPrecision(3) : "",
    ];
    [mark, best, value].forEach((element, i) => {
      if (element.textContent !== texts[i]) element.textContent = texts[i];
    });
    const words = `${nameOf(member)}: ${isOver ? "training, overfitting" : state.status}${state.n ? `, epoch ${state.n}, best epoch ${member.epochs[state.best]}, validation loss ${loss(member.val[state.best])}` : ""}`;
    if (said.textContent !== words) {
      said.textContent = words;
      label.title = words;
    }
    seen.set(kind, (seen.get(kind) ?? 0) + 1);
  });
  const key = [...seen].map((pair) => pair.join(" ")).join();
  if (byId("marks").dataset.key === key) return;
  byId("marks").dataset.key = key;
  byId("marks").replaceChildren(
    ...[...seen].map(([kind, n]) => {
      const item = document.createElement("li"),
        mark = document.createElement("span");
      mark.className = `mark-key is-${kind}`;
      mark.textContent = kind === "overfitting" ? "▲" : MARKS[kind];
      mark.setAttribute("aria-hidden", "true");
      item.append(mark, `${n} ${kind}`);
      return item;
    }),
  );
}

function drawMember(member, state) {
  const isTrees = start.kinds[member.config] === "trees",
    name = nameOf(member),
    last = state.n - 1;
  const config = start.configs.length > 1 ? ` (${partsOf(member.config)[0].replace(/^\d+ /, "")})` : "";
  show("member-title", `Selected: ${name}${config}`);
  show("verdict", verdictOf(member, state));
  byId("verdict").classList.toggle("warn", state.rise > 0 || state.status === "failed");
  const isLog = byId("log").checked,
    xs = member.epochs,
    x = [1, Math.max(2, state.n)];
  const axes = new Axes(byId("member-losses"), {
    x,
    y: extent([member.train.slice(0, state.n), member.val.slice(0, state.n)], isLog),
    isLog,
    yLabel: "loss",
    height: 300,
  });
  if (state.rise > 0) axes.span(xs[state.lowest], xs[last], "overfit");
  axes.line(xs, member.train, state.n, "first");
  axes.line(xs, member.val, state.n, "second");
  if (state.n) {
    axes.mark(xs[state.best], "best-line", `best epoch ${xs[state.best]}`);
    axes.dot(xs[state.best], member.val[state.best], "best-dot-one", 6);
  }
  axes.draw(state.n ? `Losses of ${name} by epoch. ${verdictOf(member, state)}` : `${name} has not begun`);
  const rates = new Axes(byId("member-rate"), {
    x,
    y: extent([member.rate.slice(0, state.n), [0]], false),
    yLabel: isTrees ? "shrinkage" : "learning rate",
    height: 300,
  });
  rates.line(xs, member.rate, state.n, "third");
  rates.draw(
    state.n ? `Learning rate of ${name}: ${number(member.rate[last])} at epoch ${xs[last]}` : `${name} has not begun`,
  );
  show(
    "rate-note",
    state.n
      ? `${isTrees ? "Shrinkage, the learning rate of trees" : "Learning rate"}: ${number(member.rate[last])} now`
      : "Learning rate",
  );
}

function verdictOf(member, state) {
  const last = state.n - 1;
  const ending = state.message || REASONS[state.reason] || state.reason;
  const what =
    state.status === "training"
      ? "It is being trained"
      : state.status === "done"
        ? `It is trained: ${ending}`
        : state.status === "waiting"
          ? "It waits for its turn"
          : state.status === "paused"
            ? "It paused: all configs are compared before the best go on"
            : `It is ${state.status}${ending ? `: ${ending}` : ""}`;
  if (!state.n) return `${what}.`;
  const losses = `Epoch ${member.epochs[last]}: training loss ${loss(member.train[last])}, validation loss ${loss(member.val[last])}. Best epoch ${member.epochs[state.best]}, with a validation loss of ${loss(member.val[state.best])}.`;
  const over =
    state.rise > 0
      ? ` Overfitting since epoch ${member.epochs[state.lowest]}: the validation loss has risen by ${(100 * state.rise).toFixed(0)}%, while the training loss fell from ${loss(member.train[state.lowest])} to ${loss(member.train[last])}. The weights of the best epoch are kept.`
      : "";
  return `${what}. ${losses}${over}`;
}

// -- layers --------------------------------------------------------------------------------------------------------

function drawLayers(member, state) {
  const isTrees = start.kinds[member.config] === "trees",
    known = layersOf.get(selected) ?? [];
  const epochs = known.filter((entry) => entry.seconds <= now && entry.epoch <= state.n);
  const note = isTrees
    ? "Boosted trees have no layers and no gradients by layer; a round of boosting is shown as an epoch."
    : epochs.length
      ? "Left: the weights by epoch, from the smallest to the largest; the darker band holds 90 % of them, the darkest 50 %, the line is the median. Right: root mean square of the gradients, as a moving average over the last steps that the optimizer keeps (Adam's first moment, or SGD's momentum), after clipping. Falling gradients mean that the network settles; near zero from the start, that a layer does not learn."
      : state.n
        ? "No figures about layers are known of this member."
        : "Its layers are shown when it trains.";
  show("layers-note", note);
  const names = epochs.length && !isTrees ? epochs[0].layers.map((layer) => layer.name) : [],
    box = byId("layers"),
    key = JSON.stringify([run, selected, names.map((name, place) => [name, epochs[0].layers[place].n])]);
  if (box.dataset.key !== key) {
    box.dataset.key = key;
    box.replaceChildren(...names.map((name, place) => layerBox(name, epochs[0].layers[place])));
  }
  names.forEach((name, place) =>
    drawLayer(
      name,
      box.children[place],
      epochs.map((entry) => ({ epoch: entry.epoch, ...entry.layers[place] })),
    ),
  );
}

function layerBox(name, layer) {
  const box = document.createElement("figure"),
    title = document.createElement("h3"),
    pair = document.createElement("div"),
    caption = document.createElement("figcaption");
  title.textContent = `${name} (${count(layer.n, "parameter")})`;
  pair.className = "pair";
  for (let i = 0; i < 2; i += 1) {
    const plot = document.createElement("div");
    plot.className = "plot";
    plot.append(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
    pair.append(plot);
  }
  box.append(title, pair, caption);
  return box;
}

function drawLayer(name, box, entries) {
  const [weights, gradients] = box.querySelectorAll("svg"),
    xs = entries.map((item) => item.epoch),
    last = entries.at(-1);
  const at_ = (place) => entries.map((item) => item.quantiles[place]),
    x = [xs[0], Math.max(xs[0] + 1, xs.at(-1))];
  const fan = new Axes(weights, { x, y: extent([at_(0), at_(6)], false), yLabel: "weights", height: 190 });
  fan.band(xs, at_(0), at_(6), "all");
  fan.band(xs, at_(1), at_(5), "most");
  fan.band(xs, at_(2), at_(4), "half");
  fan.line(xs, at_(3), xs.length, "first");
  fan.draw(
    `Weights of ${name} by epoch: now from ${number(last.quantiles[0])} to ${number(last.quantiles[6])}, half of them between ${number(last.quantiles[2])} and ${number(last.quantiles[4])}`,
  );
  const sizes = entries.map((item) => item.gradient_rms || null);
  const lines = new Axes(gradients, { x, y: extent([sizes], true), isLog: true, yLabel: "gradient", height: 190 });
  lines.line(xs, sizes, xs.length, "second");
  lines.draw(`Root mean square of the gradients of ${name} by epoch: now ${number(last.gradient_rms)}`);
  const text = `Epoch ${last.epoch}: weights ${number(last.rms)}, gradients ${number(last.gradient_rms)} (root mean squares)`;
  const caption = box.querySelector("figcaption");
  if (caption.textContent !== text) caption.textContent = text;
}

// -- table ---------------------------------------------------------------------------------------------------------

function drawTable(states) {
  const body = byId("rows");
  if (!body.closest("details").open) return;
  body.replaceChildren(
    ...members.slice(0, MAX_CELLS_IN_TABLE).map((member, place) => {
      const state = states[place],
        row = document.createElement("tr");
      const cells = [
        `${member.config + 1} ${start.configs[member.config]}`,
        member.repeat + 1,
        member.fold + 1,
        state.status + (state.rise > 0 ? ", overfitting" : ""),
        state.n,
        state.n ? member.epochs[state.best] : "–",
        state.n ? loss(member.train[state.best]) : "–",
        state.n ? loss(member.val[state.best]) : "–",
      ];
      cells.forEach((text, i) => {
        const cell = document.createElement(i ? "td" : "th");
        if (!i) cell.scope = "row";
        if (i && i !== 3) cell.className = "number";
        cell.textContent = text;
        row.append(cell);
      });
      return row;
    }),
  );
}
