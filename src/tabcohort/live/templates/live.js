// What asks the server for events, and what happens when somebody plays, seeks or chooses.
// -- asking --------------------------------------------------------------------------------------------------------

const token = new URLSearchParams(location.search).get("token") ?? "";

async function json(path) {
  const answer = await fetch(`${path}&token=${encodeURIComponent(token)}`);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

async function ask() {
  if (isAsking || !start || start.kinds[members[selected].config] === "trees") return;
  isAsking = true;
  try {
    await askFor(selected);
  } catch {
    /* the next poll says so */
  } finally {
    isAsking = false;
  }
  later();
}

async function askFor(member) {
  const known = layersOf.get(member) ?? [],
    answer = await json(`layers?run=${run}&member=${member}&from=${known.length}`);
  if (answer.run === run && answer.from === known.length) layersOf.set(member, known.concat(answer.epochs));
}

async function poll() {
  let wait = POLL_MS;
  try {
    const wasOver = Boolean(end),
      answer = await json(`events?run=${run}&from=${next}`);
    isLost = false;
    if (answer.run !== run) {
      reset();
      run = answer.run;
    }
    next = answer.next;
    isOpen = answer.isOpen;
    answer.events.forEach(apply);
    if (answer.more) wait = 0;
    if (answer.events.length || !isOpen) {
      ask();
      later();
    }
    if (end && !wasOver) keepLayers();
    if (!isOpen && !answer.more) wait = null;
  } catch {
    isLost = true;
    later();
    wait = 3 * POLL_MS;
  }
  if (wait !== null) setTimeout(poll, wait);
}

// When training has ended the command soon does, too: what is known of all layers is asked for while it answers.
async function keepLayers() {
  try {
    for (let member = 0; member < members.length; member += 1)
      if (start.kinds[members[member].config] === "network") await askFor(member);
  } catch {
    /* the command has ended */
  }
}

// -- time ----------------------------------------------------------------------------------------------------------

function later() {
  if (frame) return;
  frame = requestAnimationFrame(() => {
    if (performance.now() - drawnAt < drawMs) {
      frame = 0;
      setTimeout(later, drawMs);
    } else draw();
  });
}

function step(stamp) {
  if (!isPlaying) return;
  const speed = Number(byId("speed").value) || Math.max(duration / 20, 1e-3);
  now = Math.min(now, duration) + (speed * (stamp - tick)) / 1000;
  tick = stamp;
  if (now >= duration) {
    isPlaying = false;
    isFollowing = true;
    draw();
    return;
  }
  if (stamp - drawnAt >= drawMs) draw();
  requestAnimationFrame(step);
}

byId("play").addEventListener("click", () => {
  isPlaying = !isPlaying;
  if (isPlaying) {
    if (now >= duration) now = 0;
    isFollowing = false;
    tick = performance.now();
    requestAnimationFrame(step);
  }
  draw();
});
byId("latest").addEventListener("click", () => {
  isPlaying = false;
  isFollowing = true;
  draw();
  byId("play").focus();
});
byId("seek").addEventListener("input", () => {
  isPlaying = false;
  now = (duration * byId("seek").value) / 1000;
  isFollowing = Number(byId("seek").value) === 1000;
  draw();
});
for (const id of ["show", "log"]) byId(id).addEventListener("input", draw);
byId("colour").addEventListener("input", () => {
  if (start) colour();
  draw();
});
document.querySelector("details").addEventListener("toggle", draw);
addEventListener("resize", later);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
draw();
poll();
