// What is known of the run, made of its events, and what the page shows of it.
const POLL_MS = 700,
  MAX_COLOURS = 8,
  MIN_SINCE = 3,
  MIN_RISE = 0.02,
  DRAW_MS = 80,
  MAX_CELLS_IN_TABLE = 400;
const MARKS = { waiting: "·", training: "▶", paused: "‖", done: "✓", stopped: "■", dropped: "×", failed: "!" };
const OF_REASON = { patience: "done", max_epochs: "done", paused: "paused", failed: "failed" };
const REASONS = {
  patience: "no better epoch came within its patience",
  max_epochs: "it had all of its epochs",
  interrupted: "it was interrupted",
  budget: "the budget of seconds was spent",
};
const { Axes, extent, number } = Charts;
const byId = (id) => document.getElementById(id);
const show = (id, text) => {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
};
const count = (n, noun) => `${n.toLocaleString("en-US")} ${noun}${n === 1 ? "" : "s"}`;
const loss = (value) => value.toFixed(4).replace("-", "−");

let run = 0,
  next = 0,
  isOpen = true,
  isLost = false;
let start = null,
  members = [],
  drops = new Map(),
  lefts = [],
  end = null,
  duration = 0;
let selected = 0,
  isChosen = false,
  isFollowing = true,
  isPlaying = false,
  now = 0,
  drawnAt = 0,
  drawMs = DRAW_MS,
  frame = 0,
  tick = 0;
let layersOf = new Map(),
  isAsking = false,
  hidden = new Set();

// -- events --------------------------------------------------------------------------------------------------------

function reset() {
  start = null;
  members = [];
  drops = new Map();
  lefts = [];
  end = null;
  duration = 0;
  selected = 0;
  isChosen = false;
  isFollowing = true;
  isPlaying = false;
  layersOf = new Map();
  hidden = new Set();
}

function apply(event) {
  duration = Math.max(duration, event.seconds);
  const member = members[event.member];
  switch (event.event) {
    case "start":
      start = event;
      members = event.members.map((place) => ({
        ...place,
        epochs: [],
        times: [],
        train: [],
        val: [],
        rate: [],
        best: [],
        lowest: [],
        score: [],
        states: [],
        isLower: event.lower_is_better[place.config],
      }));
      build();
      break;
    case "begin":
      member.states.push({ at: event.seconds, status: "training", reason: "", message: "" });
      break;
    case "epoch":
      add(member, event);
      break;
    case "stop":
      member.states.push({
        at: event.seconds,
        status: OF_REASON[event.reason] ?? "stopped",
        reason: event.reason,
        message: event.message,
      });
      break;
    case "drop":
      drops.set(event.config, { at: event.seconds, epochs: event.epochs });
      break;
    case "time_left":
      lefts.push({ at: event.seconds, left: event.seconds_left });
      break;
    case "end":
      end = { at: event.seconds, reason: event.reason };
      break;
  }
}

function add(member, event) {
  const i = member.epochs.length,
    best = i ? member.best[i - 1] : 0,
    lowest = i ? member.lowest[i - 1] : 0;
  member.epochs.push(event.epoch);
  member.times.push(event.seconds);
  member.train.push(event.train_loss);
  member.val.push(event.val_loss);
  member.rate.push(event.learning_rate);
  member.score.push(event.score);
  const isBetter = member.isLower ? event.score < member.score[best] : event.score > member.score[best];
  member.best.push(i && isBetter ? i : best);
  member.lowest.push(i && event.val_loss < member.val[lowest] ? i : lowest);
}

function upTo(times, at) {
  let low = 0,
    high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}

// What a member is at the time that is shown.
function at(member) {
  const n = upTo(member.times, now);
  let state = { status: "waiting", reason: "", message: "" };
  for (const item of member.states) if (item.at <= now) state = item;
  const drop = drops.get(member.config);
  if (drop && drop.at <= now)
    state = { status: "dropped", reason: `its config was dropped after ${count(drop.epochs, "epoch")}`, message: "" };
  const best = n ? member.best[n - 1] : -1,
    lowest = n ? member.lowest[n - 1] : -1;
  let rise = 0;
  if (n && n - 1 - lowest >= MIN_SINCE && member.train[n - 1] < member.train[lowest]) {
    rise = (member.val[n - 1] - member.val[lowest]) / Math.max(member.val[lowest], 1e-12);
    if (rise < MIN_RISE) rise = 0;
  }
  return { n, best, lowest, rise, status: state.status, reason: state.reason, message: state.message };
}

function nameOf(member) {
  const parts = [];
  for (const name of ["config", "repeat", "fold"]) {
    if (members.some((item) => item[name] !== members[0][name])) parts.push(`${name} ${member[name] + 1}`);
  }
  return parts.join(", ") || "the network";
}

// A config's number and kind, and the settings that distinguish it.
function partsOf(config) {
  const [kind, ...settings] = start.configs[config].split(", ");
  return [start.configs.length > 1 ? `${config + 1} ${kind}` : kind, settings.join(", ")];
}

const hueOf = (member) => (byId("colour").value === "fold" ? member.fold : member.config) % MAX_COLOURS;
