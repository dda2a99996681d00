// Draws a trace of the loop on three canvases (time, rows, ready queue), and says in words what the pointer is on.
"use strict";
function show(trace) {
  const LEFT = innerWidth < 600 ? 84 : 124, ROW = 24, AXIS = 26, QUEUE = 84, NARROWEST_US = 2;
  const [axis, rows, queue] = ["axis", "rows", "queue"].map((id) => document.getElementById(id));
  const [view, tip, explained] = [".view", "#tip", "#explained"].map((one) => document.querySelector(one));
  const number = (value) => value.toLocaleString("en-US");
  const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
  const time = (us) => us < 1000 ? `${us.toFixed(1)} µs` : us < 1e6 ? `${(us / 1000).toFixed(2)} ms` : `${(us / 1e6).toFixed(2)} s`;

  // One lane a track, in the order of their numbers; its entries by time, the longer first where two begin together.
  const names = new Map(), lanes = new Map(), turns = [], levels = [];
  for (const one of trace.traceEvents) {
    if (one.ph === "M") { if (one.name === "thread_name") names.set(one.tid, one.args.name); continue; }
    if (one.ph === "C") { levels.push({ ts: one.ts, length: one.args.connections }); continue; }
    one.dur ??= 0;
    if (!lanes.has(one.tid)) lanes.set(one.tid, []);
    lanes.get(one.tid).push(one);
    if (one.name === "turn") turns.push(one);
  }
  const tracks = [...names.keys()].sort((a, b) => a - b);
  for (const lane of lanes.values()) lane.sort((a, b) => a.ts - b.ts || b.dur - a.dur);
  // How far back a lane's entries can reach into what is shown.
  const longest = new Map([...lanes].map(([tid, lane]) => [tid, lane.reduce((most, one) => Math.max(most, one.dur), 0)]));
  levels.sort((a, b) => a.ts - b.ts);
  let first = Infinity, last = -Infinity;
  for (const lane of lanes.values()) for (const one of lane) { first = Math.min(first, one.ts); last = Math.max(last, one.ts + one.dur); }
  if (!(last > first)) last = first + 1;
  const partial = [...lanes.values()].flat().filter((one) => one.name === "drive: again" || one.name === "datagrams: bound").sort((a, b) => a.ts - b.ts);
  const most = levels.reduce((most, one) => Math.max(most, one.length), 1);
  let from = first, to = last, width = 0;

  const before = (list, at) => {
    let low = 0, high = list.length;
    while (low < high) { const middle = (low + high) >> 1; if (list[middle].ts < at) low = middle + 1; else high = middle; }
    return low;
  };
  const owes = (one) => one.name === "drive: wait" && one.args.unsent > 0;
  const colour = (one) => {
    if (one.name.startsWith("drive")) return one.name === "drive: again" ? "again" : owes(one) || one.name === "drive: broken" ? "owes" : "wait";
    if (one.name === "datagrams: bound") return "again";
    if (one.name === "datagrams: blocked" || one.name === "accept: paused") return "owes";
    if (one.name === "poll" || one.name === "turn" || one.name === "accept" || one.name === "edge" || one.name === "closed") return one.name;
    if (one.name === "timer") return "again";
    return one.name === "trace written" ? "closed" : "udp";
  };
  let paint = {};
  const x = (at) => LEFT + (at - from) / (to - from) * (width - LEFT);
  const timeAt = (pixel) => from + (pixel - LEFT) / (width - LEFT) * (to - from);

  const prepare = (canvas, height) => {
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    canvas.style.height = height + "px";
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = "12px system-ui, sans-serif"; pen.textBaseline = "middle";
    return pen;
  };
  const step = () => {
    const wanted = (to - from) / Math.max(2, (width - LEFT) / 110), power = 10 ** Math.floor(Math.log10(wanted));
    return [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= wanted);
  };
  const grid = (pen, height) => {
    pen.strokeStyle = paint.rule; pen.lineWidth = 1; pen.beginPath();
    for (let at = Math.ceil((from - first) / step()) * step() + first; at <= to; at += step()) {
      const line = Math.round(x(at)) + .5; pen.moveTo(line, 0); pen.lineTo(line, height);
    }
    pen.stroke();
  };
  const drawAxis = () => {
    const pen = prepare(axis, AXIS), size = step();
    grid(pen, AXIS);
    pen.fillStyle = paint.soft; pen.textAlign = "left";
    for (let at = Math.ceil((from - first) / size) * size + first; at <= to; at += size) {
      const scale = size < 1000 ? [1, "µs"] : size < 1e6 ? [1000, "ms"] : [1e6, "s"];
      const digits = Math.max(0, -Math.floor(Math.log10(size / scale[0]) + 1e-9));
      if (x(at) < width - 44) pen.fillText(`${((at - first) / scale[0]).toFixed(digits)} ${scale[1]}`, x(at) + 4, AXIS / 2);
    }
    pen.fillStyle = paint.page; pen.fillRect(0, 0, LEFT, AXIS);
    pen.fillStyle = paint.soft; pen.fillText("time", 10, AXIS / 2);
  };
  // A bar; one that was cut off has a notch where its rest would follow.
  const bar = (pen, left, top, right, height, isCut) => {
    const end = Math.max(right, left + 1.5), notch = isCut ? Math.min(5, (end - left) / 2) : 0;
    if (!notch) { pen.fillRect(left, top, end - left, height); return; }
    pen.beginPath(); pen.moveTo(left, top); pen.lineTo(end, top); pen.lineTo(end - notch, top + height / 2);
    pen.lineTo(end, top + height); pen.lineTo(left, top + height); pen.fill();
  };
  const drawRows = () => {
    const pen = prepare(rows, tracks.length * ROW);
    tracks.forEach((_, index) => { if (index % 2) { pen.fillStyle = paint.band; pen.fillRect(0, index * ROW, width, ROW); } });
    grid(pen, tracks.length * ROW);
    // The turns stand behind everything, so that what shares a turn is seen to share it.
    pen.globalAlpha = .09; pen.fillStyle = paint.turn;
    for (let index = Math.max(0, before(turns, from) - 1); index < turns.length && turns[index].ts < to; index++) {
      const left = x(turns[index].ts), right = x(turns[index].ts + turns[index].dur);
      if (right - left > 3) pen.fillRect(left, 0, right - left, tracks.length * ROW);
    }
    pen.globalAlpha = 1;
    tracks.forEach((tid, index) => {
      const lane = lanes.get(tid) ?? [], top = index * ROW, filled = new Map();
      for (let at = before(lane, from - (longest.get(tid) ?? 0)); at < lane.length && lane[at].ts <= to; at++) {
        const one = lane[at], left = x(one.ts), right = x(one.ts + one.dur), kind = colour(one);
        if (right < LEFT) continue;
        // What would fall on pixels that have this colour already is not drawn again.
        const key = one.name, until = filled.get(key) ?? -1;
        if (right < until) continue;
        filled.set(key, Math.max(right, left + 1));
        pen.fillStyle = paint[kind];
        if (one.name === "edge") {
          pen.beginPath(); pen.moveTo(left - 4, top + 1); pen.lineTo(left + 4, top + 1); pen.lineTo(left, top + 8); pen.fill();
        } else if (one.ph === "i") pen.fillRect(left - 1, top + 2, 2.5, ROW - 4);
        else if (one.name === "receive" || one.name === "send") {
          pen.globalAlpha = one.name === "send" ? 1 : .75; bar(pen, left, top + 12, right, 8); pen.globalAlpha = 1;
        } else if (one.name.startsWith("datagrams")) bar(pen, left, top + 8, right, 3, one.name === "datagrams: bound");
        else bar(pen, left, top + 8, right, ROW - 12, one.name === "drive: again");
      }
      pen.fillStyle = index % 2 ? paint.band : paint.page; pen.fillRect(0, top, LEFT, ROW);
      pen.fillStyle = paint.ink; pen.textAlign = "left";
      const name = names.get(tid);
      pen.fillText(LEFT < 100 ? name.replace("connection", "conn.") : name, 10, top + ROW / 2);
    });
  };
  const drawQueue = () => {
    const pen = prepare(queue, QUEUE), floor = QUEUE - 12, y = (length) => floor - length / most * (QUEUE - 30);
    grid(pen, QUEUE);
    let at = Math.max(0, before(levels, from) - 1);
    if (levels.length) {
      pen.beginPath(); pen.moveTo(LEFT, floor);
      let level = levels[at]?.ts <= from ? levels[at].length : 0, low = level, high = level, pixel = LEFT;
      pen.lineTo(LEFT, y(level));
      for (; at < levels.length && levels[at].ts <= to; at++) {
        const here = Math.max(LEFT, x(levels[at].ts));
        if (here - pixel < .5) { low = Math.min(low, levels[at].length); high = Math.max(high, levels[at].length); level = levels[at].length; continue; }
        pen.lineTo(pixel, y(high)); pen.lineTo(pixel, y(low)); pen.lineTo(pixel, y(level)); pen.lineTo(here, y(level));
        level = low = high = levels[at].length; pixel = here; pen.lineTo(here, y(level));
      }
      pen.lineTo(pixel, y(high)); pen.lineTo(pixel, y(level)); pen.lineTo(x(Math.min(to, last)), y(level)); pen.lineTo(x(Math.min(to, last)), floor);
      pen.globalAlpha = .55; pen.fillStyle = paint.queue; pen.fill(); pen.globalAlpha = 1;
      pen.strokeStyle = paint.again; pen.lineWidth = 1; pen.stroke();
    }
    pen.fillStyle = paint.page; pen.fillRect(0, 0, LEFT, QUEUE);
    pen.fillStyle = paint.ink; pen.textAlign = "left"; pen.fillText(LEFT < 100 ? "queue" : "ready queue", 10, QUEUE / 2);
    pen.fillStyle = paint.soft; pen.textAlign = "right"; pen.fillText(number(most), LEFT - 6, 18); pen.fillText("0", LEFT - 6, floor);
  };
  const draw = () => {
    width = view.clientWidth;
    const style = getComputedStyle(document.documentElement);
    for (const name of ["page", "ink", "soft", "rule", "band", "poll", "turn", "edge", "wait", "again", "owes", "udp", "accept", "closed", "queue"])
      paint[name] = style.getPropertyValue("--" + name);
    drawAxis(); drawRows(); drawQueue();
    document.getElementById("range").textContent = `${time(to - from)} from ${time(from - first)}`;
  };

  const bytes = (count) => plural(count, "byte");
  const explain = (one) => {
    const { args } = one, took = `It took ${time(one.dur)}.`;
    switch (one.name) {
      case "poll":
        if (args.timeout_us === 0) return `The loop asked the kernel without sleeping, because work was left over (or it spins): ${plural(args.events, "event")}. ${took}`;
        if (!args.events) return `The loop slept ${time(one.dur)} until a deadline of its own: no event came.`;
        return `The loop slept for at most ${args.timeout_us === null ? "ever" : time(args.timeout_us)}; after ${time(one.dur)} the kernel woke it with ${plural(args.events, "event")}.`;
      case "turn":
        return `One turn: everything below happened in it. ${plural(args.queued, "connection")} stood in the ready queue at its start, ${number(args.left)} at its end. ` +
          (args.left ? "Those are not waited for: the next poll does not sleep. " : "Nothing is left over, so the next poll may sleep. ") + took;
      case "edge":
        return `An edge: the kernel reports once that ${[args.readable && "reading", args.writable && "writing"].filter(Boolean).join(" and ") || "nothing"} will not block` +
          (args.hint ? ", and that the peer's end or urgent data has come: from here on a short read proves nothing" : "") +
          ". Only a flag is raised; the work comes later in the same turn.";
      case "drive: wait":
        if (args.unsent) return `A drive that read ${bytes(args.read)} and sent ${bytes(args.sent)}; the socket took no more, and ${bytes(args.unsent)} are owed. Nothing is read from this peer until it has taken them. ${took}`;
        return `A drive that read ${bytes(args.read)}, sent ${bytes(args.sent)}, and found the queue empty: it waits for the next edge. ${took}`;
      case "drive: again":
        return `A partial drain: the drive read ${bytes(args.read)}, sent ${bytes(args.sent)}, and its budget (or a signal) ended it. More may be there, and no edge will say so: the connection goes to the end of the ready queue. ${took}`;
      case "drive: finished":
        return `The last drive: it read ${bytes(args.read)}, sent ${bytes(args.sent)}, and nothing is owed any more. Our end is closed. ${took}`;
      case "drive: broken": return `A drive that failed: the peer has reset the connection, or it timed out. ${took}`;
      case "receive":
        if (!args.messages) return `A receive that found nothing (or met an error). ${took}`;
        return `One receive: ${plural(args.messages, "message")} of the ${number(args.width)} asked for, ${plural(args.datagrams, "datagram")} and ${bytes(args.bytes)} in all. ` +
          (args.messages < args.width ? "Fewer than asked for: the queue is empty, and no further call need say so. " : "As many as asked for: there may be more. ") + took;
      case "send": return args.datagrams ? `One send: ${plural(args.datagrams, "datagram")}, ${bytes(args.bytes)}. ${took}` : `A send that failed or found no room. ${took}`;
      case "datagrams: empty": return `The datagrams of this turn, until the queue was empty. ${took}`;
      case "datagrams: bound": return `A partial drain of datagrams: the bound of a turn was reached, so that connections get theirs. The next poll does not sleep. ${took}`;
      case "datagrams: blocked": return `The send buffer is full: replies wait, and nothing more is received until there is room. ${took}`;
      case "accept": return `Connection ${args.connection} was accepted and registered, once and for all. ${took}`;
      case "accept: paused": return `Accepting failed for want of descriptors or memory. It pauses by the clock, because a freed descriptor raises no event.`;
      case "timer": return `A timer: this connection had been ${args.was} for too long.`;
      case "closed": return `The connection was closed, and its slot is free for another.`;
      case "trace written": return `This trace was written to its file, and the loop stood still: ${time(one.dur)}.`;
    }
    return one.name;
  };

  // What is nearest to the pointer in its row: an edge before a bar, an inner bar before an outer one.
  const under = (pixel, y) => {
    const index = Math.floor(y / ROW), tid = tracks[index], lane = lanes.get(tid) ?? [], at = timeAt(pixel);
    const reach = 5 / (width - LEFT) * (to - from), inEdge = y - index * ROW < 8;
    let best = null, score = Infinity;
    for (let one = before(lane, at - reach - (longest.get(tid) ?? 0)); one < lane.length && lane[one].ts <= at + reach; one++) {
      const entry = lane[one], distance = Math.max(0, entry.ts - at, at - entry.ts - entry.dur);
      if (distance > reach) continue;
      const value = distance / reach + (entry.dur / (last - first)) + ((entry.ph === "i") === inEdge ? 0 : 2);
      if (value <= score) { best = entry; score = value; }
    }
    return best;
  };
  const explainAt = (clientX, clientY) => {
    const box = view.getBoundingClientRect(), sheet = rows.getBoundingClientRect(), chart = queue.getBoundingClientRect();
    const pixel = clientX - box.left;
    let text = null, about = "";
    if (pixel >= LEFT && clientY >= chart.top && levels.length) {
      const level = levels[Math.max(0, before(levels, timeAt(pixel)) - 1)];
      text = `${plural(level.length, "connection")} in the ready queue: ${level.length ? "they have work that no edge will announce again, or were just reported" : "the loop may sleep"}.`;
    } else if (pixel >= LEFT && clientY >= sheet.top && clientY < chart.top) {
      const one = under(pixel, clientY - sheet.top);
      if (one) { text = explain(one); about = `${names.get(one.tid)}, at ${time(one.ts - first)}: `; }
    }
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text; explained.textContent = about + text;
    tip.style.left = Math.max(4, Math.min(pixel + 14, box.width - tip.offsetWidth - 6)) + "px";
    const y = clientY - box.top;
    tip.style.top = (y + 18 + tip.offsetHeight > box.height ? Math.max(2, y - tip.offsetHeight - 12) : y + 18) + "px";
  };
  const set = (start, end) => {
    const length = Math.max(NARROWEST_US, Math.min(end - start, last - first));
    from = Math.max(first, Math.min(start, last - length)); to = from + length;
    draw();
  };
  const zoom = (factor, around = (from + to) / 2) => set(around - (around - from) * factor, around + (to - around) * factor);
  const move = (share) => set(from + share * (to - from), to + share * (to - from));
  const next = () => {
    const one = partial.find((one) => one.ts > (from + to) / 2 + 1e-3) ?? partial[0];
    if (!one) { explained.textContent = "There is no partial drain in this trace: no budget cut anything off."; return; }
    const length = Math.min(to - from, Math.max(one.dur * 12, 200));
    set(one.ts - length / 2, one.ts + length / 2);
    explained.textContent = explain(one);
  };
  const keys = { "+": () => zoom(.5), "=": () => zoom(.5), "-": () => zoom(2), "0": () => set(first, last), n: next,
    ArrowLeft: () => move(-.25), ArrowRight: () => move(.25) };
  for (const [id, act] of [["in", keys["+"]], ["out", keys["-"]], ["earlier", keys.ArrowLeft], ["later", keys.ArrowRight], ["again", next], ["all", keys["0"]]])
    document.getElementById(id).addEventListener("click", act);
  view.addEventListener("keydown", (event) => { if (keys[event.key]) { keys[event.key](); event.preventDefault(); } });
  view.addEventListener("wheel", (event) => {
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) move((event.deltaX || event.deltaY) / 800);
    else if (event.ctrlKey || !document.querySelector(".rows").matches(":hover") || rows.clientHeight <= rows.parentElement.clientHeight)
      zoom(event.deltaY > 0 ? 1.25 : .8, timeAt(event.clientX - view.getBoundingClientRect().left));
    else return;
    event.preventDefault();
  }, { passive: false });
  let held = null;
  view.addEventListener("pointerdown", (event) => { held = { x: event.clientX, from, to }; explainAt(event.clientX, event.clientY); });
  addEventListener("pointerup", () => { held = null; });
  view.addEventListener("pointermove", (event) => {
    if (held && event.buttons) {
      const share = (event.clientX - held.x) / (width - LEFT) * (held.to - held.from);
      tip.hidden = true; set(held.from - share, held.to - share);
    } else explainAt(event.clientX, event.clientY);
  });
  view.addEventListener("pointerleave", () => { tip.hidden = true; });
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  const { records, overwritten } = trace.otherData;
  document.getElementById("summary").textContent =
    `${plural(records, "record")} over ${time(last - first)}: ${plural(turns.length, "turn")}, ${plural(tracks.filter((tid) => tid >= 10).length, "connection")}, ` +
    `${plural(partial.length, "partial drain")}.` + (overwritten ? ` ${number(overwritten)} older records were written over.` : "");
  // Opens where there is most to see in the shortest time: the most rows at work, and a partial drain among them.
  const all = [...lanes.values()].flat().sort((a, b) => a.ts - b.ts), WINDOW = 120;
  let opening = { worth: 0, from: first, to: last };
  for (let index = 0; index + WINDOW <= all.length; index += WINDOW / 4) {
    const some = all.slice(index, index + WINDOW), start = some[0].ts, end = some[WINDOW - 1].ts;
    const kinds = new Set(some.map((one) => one.tid + (one.name === "drive: again" || one.name === "send" ? one.name : "")));
    const worth = kinds.size - Math.log10(1 + (end - start) / 100);
    if (worth > opening.worth) opening = { worth, from: start, to: end };
  }
  set(opening.from, opening.to);
  document.body.dataset.drawn = tracks.length;
}
