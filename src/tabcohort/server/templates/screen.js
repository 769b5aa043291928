"use strict";
// The parts of pages that answer without loading anew: warnings of fields, the what-if slider, and the page for a file.

const one = (selector, within = document) => within.querySelector(selector);
const percent = (share) =>
  share > 0 && share < 0.001 ? "under 0.1 %" : share < 1 && share > 0.999 ? "over 99.9 %" : `${(100 * share).toPrecision(3).replace(/\.?0+$/, "")} %`;

// -- fields ---------------------------------------------------------------------------------------------------------

const asNumber = (text) => Number(text.trim());

const markRange = (input) => {
  const value = asNumber(input.value);
  const isOutside = Number.isNaN(value) || input.value.trim() !== "" && (value < Number(input.dataset.low) || value > Number(input.dataset.high));
  input.parentElement.classList.toggle("outside", isOutside);
};
for (const input of document.querySelectorAll("input[data-low]")) {
  input.addEventListener("input", () => markRange(input));
  markRange(input);
}

// -- what if --------------------------------------------------------------------------------------------------------

const inputs = [...document.querySelectorAll("form.record [data-column]")];

const cellOf = (input) => {
  const text = input.value.trim();
  if (text === "") return null;
  if (input.inputMode === "decimal") return Number.isFinite(asNumber(text)) ? asNumber(text) : text;
  if (input.tagName === "SELECT" && input.options.length === 3 && input.options[1].text === "yes") return text === "yes";
  return text;
};

const predict = async (model, record) => {
  const response = await fetch(`/v1/models/${model}/predict`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ records: [record] }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  return answer.predictions[0];
};

const startWhatIf = (place) => {
  const column = one(".what-column", place), range = one(".what-range", place), level = one(".what-level", place);
  const said = one(".what-answer", place), numberLabel = one(".what-number", place), choiceLabel = one(".what-choice", place);
  const usable = inputs.filter((input) => input.tagName === "SELECT" || input.dataset.low !== undefined);
  if (!usable.length) return;
  for (const input of usable) column.add(new Option(input.dataset.column, input.id));
  let asked = 0;
  const ask = async () => {
    const chosen = one(`#${column.value}`), number = ++asked;
    const record = Object.fromEntries(inputs.map((input) => [input.dataset.column, cellOf(input)]));
    const isChoice = chosen.tagName === "SELECT";
    let value = isChoice ? level.value : Number(range.value);
    if (isChoice && chosen.options.length === 3 && chosen.options[1].text === "yes") value = level.value === "" ? null : level.value === "yes";
    record[chosen.dataset.column] = value === "" ? null : value;
    try {
      const answer = await predict(place.dataset.model, record);
      if (number !== asked) return;
      const shown = isChoice ? level.value || "missing" : range.value;
      said.textContent = `${chosen.dataset.column} = ${shown}: ${answer.label}, ${percent(answer.probability[String(answer.label)])}`;
    } catch (error) {
      if (number === asked) said.textContent = String(error.message);
    }
  };
  const choose = () => {
    const chosen = one(`#${column.value}`), isChoice = chosen.tagName === "SELECT";
    numberLabel.hidden = isChoice;
    choiceLabel.hidden = !isChoice;
    if (isChoice) {
      level.replaceChildren(...[...chosen.options].map((option) => new Option(option.text, option.value, false, option.selected)));
    } else {
      const low = Number(chosen.dataset.low), high = Number(chosen.dataset.high), now = asNumber(chosen.value);
      range.min = chosen.value === "" ? low : Math.min(low, now);
      range.max = chosen.value === "" ? high : Math.max(high, now);
      range.step = "any";
      range.value = chosen.value === "" ? (low + high) / 2 : now;
    }
    ask();
  };
  column.addEventListener("change", choose);
  range.addEventListener("input", () => { range.value = Number(Number(range.value).toPrecision(4)); ask(); });
  level.addEventListener("change", ask);
  place.hidden = false;
  choose();
};
for (const place of document.querySelectorAll(".what-if")) startWhatIf(place);
const result = one("#result");
if (result) result.focus({ preventScroll: true });

// -- a file ---------------------------------------------------------------------------------------------------------

const rowsOfCsv = (text) => {
  const rows = [];
  let row = [], cell = "", isQuoted = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (isQuoted) {
      if (character === '"' && text[i + 1] === '"') { cell += '"'; i++; }
      else if (character === '"') isQuoted = false;
      else cell += character;
    } else if (character === '"') isQuoted = true;
    else if (character === ",") { row.push(cell); cell = ""; }
    else if (character === "\n") { row.push(cell); rows.push(row); row = []; cell = ""; }
    else if (character !== "\r") cell += character;
  }
  if (cell || row.length) { row.push(cell); rows.push(row); }
  return rows;
};

const MAX_SHOWN = 500;

const startFile = (place) => {
  const input = one("#file", place), drop = one(".drop", place), status = one(".status", place), results = one(".results", place);
  const head = one("thead", place), body = one("tbody", place), shown = one(".shown", place), download = one(".download", place);
  const abstentions = one(".only-abstentions", place), warned = one(".only-warnings", place);
  let names = [], rows = [], order = [], sorted = { column: -1, up: false };

  const compare = (a, b) => {
    const [x, y] = [a[sorted.column], b[sorted.column]];
    const difference = x !== "" && y !== "" && !isNaN(x) && !isNaN(y) ? x - y : x < y ? -1 : x > y ? 1 : 0;
    return sorted.up ? difference : -difference;
  };
  const show = () => {
    const set = names.lastIndexOf("set"), warnings = names.lastIndexOf("warnings");
    const predicted = names.lastIndexOf("predicted"), isAbstention = (row) => row[set] !== row[predicted];
    const kept = rows.filter((row) => (!abstentions.checked || isAbstention(row)) && (!warned.checked || row[warnings] !== ""));
    if (sorted.column >= 0) kept.sort(compare);
    body.replaceChildren(...kept.slice(0, MAX_SHOWN).map((row) => {
      const line = document.createElement("tr");
      line.append(...order.map((column) => Object.assign(document.createElement("td"), { textContent: row[column], className: row[column].length > 40 ? "text" : "" })));
      return line;
    }));
    const more = kept.length > MAX_SHOWN ? `; the first ${MAX_SHOWN} are shown` : "";
    shown.textContent = `${kept.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows${more}`;
    [...head.querySelectorAll("th")].forEach((cell, number) =>
      cell.setAttribute("aria-sort", order[number] !== sorted.column ? "none" : sorted.up ? "ascending" : "descending"));
  };
  const sortBy = (column) => {
    sorted = { column, up: sorted.column === column ? !sorted.up : false };
    show();
  };
  const read = async (file) => {
    status.textContent = `Predicting for ${file.name} …`;
    results.hidden = true;
    try {
      const response = await fetch(`/v1/models/${place.dataset.model}/predict`, { method: "POST", headers: { "content-type": "text/csv", ...(file.name.endsWith(".gz") ? { "content-encoding": "gzip" } : {}) }, body: file });
      if (!response.ok) throw new Error((await response.json()).detail);
      const text = await response.text();
      [names, ...rows] = rowsOfCsv(text);
      URL.revokeObjectURL(download.href);
      download.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      const line = document.createElement("tr");
      const first = names.lastIndexOf("predicted");  // the answer's columns stand behind those of the file, and are shown before them
      order = [...names.keys()].slice(first).concat([...names.keys()].slice(0, first));
      line.append(...order.map((column) => {
        const cell = Object.assign(document.createElement("th"), { scope: "col" });
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: names[column] });
        button.addEventListener("click", () => sortBy(column));
        cell.append(button);
        return cell;
      }));
      head.replaceChildren(line);
      const risk = names.lastIndexOf(`probability ${place.dataset.class ?? ""}`);
      sorted = { column: risk, up: false };
      const n = rows.filter((row) => row[names.lastIndexOf("warnings")] !== "").length;
      status.textContent = `${rows.length.toLocaleString("en")} predictions${risk >= 0 ? `, the highest probability of ${place.dataset.class} first` : ""}; ${n ? n.toLocaleString("en") : "none"} with warnings`;
      results.hidden = false;
      show();
    } catch (error) {
      status.textContent = `No predictions: ${error.message.replaceAll("'the body'", `'${file.name}'`)}`;
    }
  };
  input.addEventListener("change", () => { if (input.files.length) read(input.files[0]); });
  abstentions.addEventListener("change", show);
  warned.addEventListener("change", show);
  for (const [kind, isOver] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.toggle("over", isOver); });
  }
  drop.addEventListener("drop", (event) => { if (event.dataTransfer.files.length) read(event.dataTransfer.files[0]); });
};
for (const place of document.querySelectorAll(".file")) startFile(place);
