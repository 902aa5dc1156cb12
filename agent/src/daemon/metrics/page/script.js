"use strict";
// Everything that comes from the host is put into the page as text, never as HTML.
(() => {
  const STATES = {
    contradicted: "held by another", open: "open", bound: "bound, not listening", reserved: "closed",
    blocked: "blocked", unreserved: "open, unreserved", free: "free",
  };
  const PROTOCOLS = ["tcp", "udp"];
  const SIDE = 256, LOW = { columns: 64, rows: 16 };
  const $ = (id) => document.getElementById(id);
  const number = new Intl.NumberFormat("en").format;

  // Control and direction characters of a name would show something else than it is.
  const clean = (text) => String(text ?? "").replace(
    /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (c) => "\\u{" + c.codePointAt(0).toString(16) + "}");

  // An element with attributes and children; strings become text.
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "class") element.className = value;
      else if (key === "on") for (const [event, f] of Object.entries(value)) element.addEventListener(event, f);
      else if (value !== null && value !== undefined) element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined).map(
      (child) => child instanceof Node ? child : clean(child)));
    return element;
  };
  const say = (id, text) => { const clear = clean(text) || "\u00a0"; if ($(id).textContent !== clear) $(id).textContent = clear; };

  const ago = (time, now = Date.now()) => {
    const s = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
    if (Number.isNaN(s)) return "";
    for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) if (s >= size) return `${Math.floor(s / size)} ${unit} ago`;
    return s < 2 ? "just now" : `${s} s ago`;
  };
  const clock = (time) => {
    const date = new Date(time);
    if (Number.isNaN(date.getTime())) return clean(time);
    const today = date.toDateString() === new Date().toDateString();
    return today ? date.toLocaleTimeString("en-GB") : date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  };
  const swatch = (state) => make("span", { class: `swatch s-${state} ${state}`, "aria-hidden": "true" });
  const badge = (state) => make("span", { class: "badge" }, swatch(state), STATES[state] ?? state);

  // ---- asking -------------------------------------------------------------------------
  let lastAnswer = null;
  const ask = async (path) => {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), 15000);
    try {
      const response = await fetch(path, { signal: stop.signal, cache: "no-store" });
      if (!response.ok) throw new Error((await response.text()).trim() || `status ${response.status}`);
      const answer = await response.json();
      lastAnswer = Date.now();
      return answer;
    } finally { clearTimeout(timer); }
  };
  // Again and again, unless nobody looks.
  const every = (milliseconds, work) => {
    let soon = null, running = false;
    const turn = async () => {
      clearTimeout(soon);
      if (running) return;
      running = true;
      if (!document.hidden) try { await work(); } catch (error) { failed(error); }
      running = false;
      soon = setTimeout(turn, milliseconds);
    };
    document.addEventListener("visibilitychange", () => { if (!document.hidden) turn(); });
    turn();
    return turn;
  };
  let failure = null;
  const failed = (error) => {
    failure = error.name === "AbortError" ? "no answer in time" : error.message;
    tellAge();
  };
  const tellAge = () => {
    const isLost = lastAnswer === null ? failure !== null : Date.now() - lastAnswer > 12000;
    document.body.classList.toggle("stale", isLost);
    $("live").className = `quiet ${isLost ? "lost" : lastAnswer ? "alive" : ""}`;
    if (isLost) {
      const since = lastAnswer ? `, last seen ${ago(new Date(lastAnswer).toISOString())}` : "";
      say("age", `the agent does not answer${since}`);
      $("mode").className = "pill bad";
      say("mode", "no answer");
    } else if (lastAnswer) say("age", `live, ${ago(new Date(lastAnswer).toISOString())}`);
  };
  setInterval(tellAge, 1000);

  // ---- status -------------------------------------------------------------------------
  const rates = [];
  let refusedBefore = null;
  const showStatus = ({ status, not_ready: notReady }) => {
    const { profile } = status;
    const proven = notReady === null;
    const words = { enforce: "enforcing", audit: "audit only", none: "nothing in force" };
    $("mode").className = `pill ${!proven || status.mode === "none" ? "bad" : status.mode === "audit" ? "warn" : "good"}`;
    say("mode", proven ? `${words[status.mode] ?? status.mode}, proven` : `${words[status.mode] ?? status.mode}, NOT proven`);
    say("where", `${location.host} · ${profile.path}`);
    document.title = `${proven ? "" : "⚠ "}portreeve · ${location.host}`;
    $("t-generation").replaceChildren(`#${status.generation}`, make("small", {}, `  ${number(profile.entries)} ${profile.entries === 1 ? "entry" : "entries"}`));
    const since = ago(profile.published);
    say("t-policy", since.endsWith(" ago") ? `in force for ${since.slice(0, -4)}` : `in force since ${since}`);
    say("version", `portreeve ${status.version}${status.selftest ? ` · self-test ${ago(status.selftest.at)}` : ""}`);

    const refusing = (counts) => Object.entries(counts).filter(([reason]) => !ALLOWED.has(reason)).reduce((sum, [, n]) => sum + n, 0);
    const refused = refusing(status.counters), told = refusing(status.audited);
    $("t-refused").replaceChildren(number(refused), ...(told ? [make("small", {}, `  + ${number(told)} in audit`)] : []));
    const now = performance.now(), all = refused + told;
    if (refusedBefore && now > refusedBefore.now) {
      rates.push(Math.max(0, (all - refusedBefore.all) * 1000 / (now - refusedBefore.now)));
      if (rates.length > 60) rates.shift();
    }
    refusedBefore = { now, all };
    const rate = rates.at(-1) ?? 0;
    say("t-rate", rate >= 0.05 ? `${rate >= 10 ? number(Math.round(rate)) : rate.toFixed(1)} a second` : "none at the moment");
    drawRates();

    const notices = [];
    if (!proven) notices.push(["bad", `Not proven: ${notReady}`]);
    if (profile.differs_from_file) notices.push(["", "Profile, an included file or the config differs from what is in force: portreeve reload --dry-run shows how."]);
    if (status.pending_confirm) notices.push(["", `Generation ${status.pending_confirm.generation} is taken back in ${status.pending_confirm.seconds_left} s unless somebody says portreeve confirm.`]);
    if (status.reload?.refused) notices.push(["bad", `Every reload since ${clock(status.reload.refused.since)} was refused: ${status.reload.refused.reason}`]);
    for (const drift of status.drift.filter((drift) => drift.until === null)) notices.push(["bad", `Changed by somebody since ${clock(drift.since)}: ${drift.of}: ${drift.problem}`]);
    const lost = status.listeners.lost + (status.listeners.stay ?? 0);
    if (lost) notices.push(["bad", `${number(lost)} listeners that were refused could not be destroyed and listen.`]);
    if (status.events.lost) notices.push(["", `${number(status.events.lost)} refusals were made and counted, but their events found no room.`]);
    if (profile.changes?.length) notices.push(["note", `On top of the profile until the next reload: ${profile.changes.join(", ")}`]);
    const missing = status.missing;
    const urgent = missing.filter((text) => text.startsWith("metrics:"));
    for (const text of urgent) notices.push(["", text]);
    const rest = missing.filter((text) => !urgent.includes(text));
    const key = JSON.stringify([notices, rest]);
    if ($("notices").dataset.key === key) return;
    $("notices").dataset.key = key;
    const items = notices.map(([kind, text]) => make("li", { class: kind }, text));
    if (rest.length) items.push(make("li", { class: "note" }, make("details", {},
      make("summary", {}, rest.length === 1 ? "1 thing is not enforced here" : `${rest.length} things are not enforced here`),
      make("ul", {}, ...rest.map((text) => make("li", {}, text))))));
    $("notices").replaceChildren(...items);
  };
  const ALLOWED = new Set(["not-judged", "unreserved", "permitted", "privileged-low-port", "unreserved-permitted"]);
  const drawRates = () => {
    const canvas = $("spark"), { ctx, width, height } = fit(canvas);
    ctx.clearRect(0, 0, width, height);
    const most = Math.max(1, ...rates), step = width / 60;
    ctx.fillStyle = color("--contradicted");
    rates.forEach((rate, i) => {
      const size = Math.max(rate > 0 ? 2 : 1, rate / most * (height - 2));
      ctx.globalAlpha = rate > 0 ? 0.9 : 0.25;
      ctx.fillRect(width - (rates.length - i) * step, height - size, Math.max(1, step - 1.5), size);
    });
    ctx.globalAlpha = 1;
  };

  // ---- map ----------------------------------------------------------------------------
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const fit = (canvas) => {
    const scale = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(canvas.clientWidth * scale)), height = Math.max(1, Math.round(canvas.clientHeight * scale));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    return { ctx: canvas.getContext("2d"), width, height, scale };
  };
  const maps = {};
  const buildMaps = () => {
    for (const protocol of PROTOCOLS) {
      const map = maps[protocol] = { states: new Uint8Array(65536), cursor: null, protocol };
      const canvas = (kind, text) => make("canvas", { class: kind, tabindex: "0", role: "img", "aria-label": text });
      map.low = canvas("low", `${protocol.toUpperCase()} ports 0 to 1023, enlarged`);
      map.all = canvas("all", `All ${protocol.toUpperCase()} ports`);
      map.pointed = make("p", { class: "pointed" });
      map.counts = make("span", { class: "quiet" });
      const axis = (kind, labels) => make("div", { class: `axis ${kind}`, "aria-hidden": "true" }, ...labels.map((label) => make("span", {}, String(label))));
      $("maps").append(make("div", { class: "map" },
        make("h3", {}, protocol.toUpperCase(), map.counts),
        make("div", { class: "grid" }, axis("low", [0, 512, 1023]), map.low),
        make("div", { class: "grid" },
          axis("", [0, 8192, 16384, 24576, 32768, 40960, 49152, 57344, 65535]), map.all),
        map.pointed));
      for (const [canvas, columns, rows] of [[map.low, LOW.columns, LOW.rows], [map.all, SIDE, SIDE]]) {
        const at = (event) => {
          const box = canvas.getBoundingClientRect();
          const x = Math.floor((event.clientX - box.left) / box.width * columns), y = Math.floor((event.clientY - box.top) / box.height * rows);
          const port = y * columns + x;
          return x >= 0 && x < columns && y >= 0 && y < rows ? port : null;
        };
        canvas.addEventListener("pointermove", (event) => point(map, at(event)));
        canvas.addEventListener("pointerleave", () => point(map, null));
        canvas.addEventListener("click", (event) => lookUp(protocol, nearest(map, at(event), columns)));
        canvas.addEventListener("focus", () => point(map, map.cursor ?? 1, true));
        canvas.addEventListener("blur", () => point(map, null));
        canvas.addEventListener("keydown", (event) => {
          const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -columns * 16, PageDown: columns * 16 };
          const last = columns * rows - 1;
          let port = map.cursor ?? 1;
          if (event.key in steps) port = Math.min(last, Math.max(0, port + steps[event.key]));
          else if (event.key === "Home") port = 0;
          else if (event.key === "End") port = last;
          else if (event.key === "Enter") return lookUp(protocol, port);
          else return;
          event.preventDefault();
          point(map, port, true);
        });
      }
      new ResizeObserver(() => draw(map)).observe(map.all);
    }
    $("legend").append(...Object.keys(STATES).map((state) => make("li", {}, swatch(state), STATES[state], make("b", { id: `n-${state}` }, "–"))));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { palette = null; Object.values(maps).forEach(draw); drawRates(); });
  };
  let names = Object.keys(STATES), palette = null;
  const stateAt = (map, port) => names[map.states[port]] ?? "free";
  // A finger is larger than a port: whatever is there nearby is meant.
  const nearest = (map, port, columns) => {
    if (port === null || columns !== SIDE || stateAt(map, port) !== "free") return port;
    let best = port, closest = 13;
    for (let dy = -3; dy <= 3; dy++) for (let dx = -3; dx <= 3; dx++) {
      const other = port + dy * columns + dx, distance = dx * dx + dy * dy;
      if (other > 0 && other < 65536 && distance < closest && stateAt(map, other) !== "free") { best = other; closest = distance; }
    }
    return best;
  };
  const point = (map, port, aloud = false) => {
    map.cursor = port;
    if (port === null) map.pointed.replaceChildren();
    else {
      map.pointed.replaceChildren(make("b", { class: "mono" }, `${map.protocol}/${port}`), badge(stateAt(map, port)));
      if (aloud) say("spoken", `${map.protocol} ${port}: ${STATES[stateAt(map, port)]}`);
    }
    draw(map);
  };
  const draw = (map) => {
    palette ??= names.map((state) => color(`--${state}`));
    drawGrid(map, map.low, LOW.columns, LOW.rows, true);
    drawGrid(map, map.all, SIDE, SIDE, false);
  };
  const drawGrid = (map, canvas, columns, rows, gaps) => {
    const { ctx, width, height, scale } = fit(canvas);
    const cell = { x: width / columns, y: height / rows };
    const free = names.indexOf("free");
    ctx.fillStyle = gaps ? color("--panel") : palette[free];
    ctx.fillRect(0, 0, width, height);
    const gap = gaps ? Math.max(1, Math.round(scale)) : 0;
    const strong = [];
    // Runs within a row are one rectangle, so that a full map takes no longer.
    for (let y = 0; y < rows; y++) for (let x = 0; x < columns;) {
      const state = map.states[y * columns + x];
      let end = x + 1;
      if (!gaps) while (end < columns && map.states[y * columns + end] === state) end++;
      if (gaps || state !== free) {
        ctx.fillStyle = palette[state];
        const left = Math.round(x * cell.x), top = Math.round(y * cell.y);
        ctx.fillRect(left, top, Math.max(1, Math.round(end * cell.x) - left - gap), Math.max(1, Math.round((y + 1) * cell.y) - top - gap));
        const name = names[state];
        if (name === "contradicted" || (!gaps && (name === "open" || name === "bound" || name === "unreserved")))
          for (let each = x; each < end; each++) strong.push([each, y, name, state]);
      }
      x = end;
    }
    // A single port is smaller than the eye: what lives is drawn larger, what is wrong ringed.
    if (strong.length < 4000) for (const [x, y, name, state] of strong) {
      const cx = (x + 0.5) * cell.x, cy = (y + 0.5) * cell.y;
      const size = Math.max(4 * scale, cell.x * 1.6);
      if (!gaps) {
        ctx.fillStyle = palette[state];
        ctx.beginPath(); ctx.arc(cx, cy, size / 2, 0, 7); ctx.fill();
      }
      if (name === "contradicted") {
        const radius = Math.max(6 * scale, Math.max(cell.x, cell.y) * 0.9), edge = radius + scale;
        const within = (place, size) => Math.min(size - edge, Math.max(edge, place));
        const [rx, ry] = [within(cx, width), within(cy, height)];
        ctx.strokeStyle = color("--panel"); ctx.lineWidth = 4 * scale;
        ctx.beginPath(); ctx.arc(rx, ry, radius, 0, 7); ctx.stroke();
        ctx.strokeStyle = palette[state]; ctx.lineWidth = 2 * scale;
        ctx.beginPath(); ctx.arc(rx, ry, radius, 0, 7); ctx.stroke();
        ctx.fillStyle = palette[state];
        ctx.beginPath(); ctx.arc(rx, ry, 2.5 * scale, 0, 7); ctx.fill();
      }
    }
    const port = map.cursor;
    if (port !== null && port < columns * rows) {
      const x = port % columns, y = Math.floor(port / columns), pad = gaps ? 2 * scale : 4 * scale;
      ctx.lineWidth = 2 * scale;
      ctx.strokeStyle = color("--text");
      ctx.strokeRect(x * cell.x - pad, y * cell.y - pad, cell.x + 2 * pad - gap, cell.y + 2 * pad - gap);
    }
  };
  const showMap = (answer) => {
    const fresh = names.join() !== answer.states.join();
    if (fresh) { names = answer.states; palette = null; }
    const index = Object.fromEntries(names.map((name, i) => [name, i]));
    const totals = new Array(names.length).fill(0);
    PROTOCOLS.forEach((protocol, p) => {
      const map = maps[protocol];
      let port = 0;
      for (const [state, count] of answer[protocol]) { map.states.fill(state, port, port + count); port += count; }
      const counts = answer.counts[p];
      counts.forEach((count, i) => { totals[i] += count; });
      const open = counts[index.open], named = 65535 - counts[index.free] - counts[index.unreserved];
      map.counts.textContent = `${number(named)} reserved, ${number(open)} open`;
      map.all.setAttribute("aria-label", `All ${protocol.toUpperCase()} ports: ${names.map((name, i) => `${number(counts[i])} ${STATES[name]}`).join(", ")}`);
      draw(map);
    });
    for (const name of names) say(`n-${name}`, number(totals[index[name]]));
    const named = ["reserved", "bound", "open", "contradicted"].reduce((sum, name) => sum + totals[index[name]], 0);
    $("t-open").replaceChildren(number(totals[index.open]), make("small", {}, `  of ${number(named)}`));
    say("t-reserved", `${number(totals[index.blocked])} blocked, ${number(totals[index.unreserved])} open that nobody reserved`);
    say("t-wrong", number(totals[index.contradicted]));
    say("t-wrong-text", totals[index.contradicted] ? "reserved ports that somebody else holds" : "every holder is the rightful one");
    $("tile-wrong").classList.toggle("alarm", totals[index.contradicted] > 0);
    if (answer.problem) say("hint", `The kernel doesn't list its sockets (${answer.problem}), so it is not known what is open.`);
    $("wrong").hidden = answer.contradicted.length === 0;
    const rows = answer.contradicted.map((holder) => make("tr", {},
      make("td", { class: "port" }, portButton(holder.protocol, holder.port)),
      make("td", { class: "c-process" }, process(holder)),
      make("td", { class: "c-user" }, String(holder.uid)),
      make("td", { class: "c-unit" }, make("bdi", {}, holder.unit ?? holder.container ?? "–")),
      make("td", { class: "c-since" }, holder.since ? ago(holder.since) : "–")));
    if (answer.contradictions > rows.length) rows.push(make("tr", {}, make("td", { colspan: "5", class: "quiet" }, `and ${number(answer.contradictions - rows.length)} more: portreeve ports shows all`)));
    $("wrong-rows").replaceChildren(...rows);
  };
  const process = (holder) => holder.comm === null ? "unseen" : make("span", {}, make("bdi", {}, holder.comm), make("span", { class: "quiet" }, ` pid ${holder.pid}`));
  const portButton = (protocol, port) => make("button", { type: "button", on: { click: () => lookUp(protocol, port) } }, `${protocol}/${port}`);
  const lookUp = (protocol, port) => {
    if (port === null) return;
    $("q").value = `${protocol}/${port}`;
    chosen = "";
    showChips();
    search(true);
    $("register").focus({ preventScroll: true });
    $("register").scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  };

  // ---- register -----------------------------------------------------------------------
  const PAGE = 50, CHIPS = ["", "contradicted", "open", "bound", "reserved", "blocked"];
  let chosen = "", shown = PAGE, opened = new Set(), asked = 0;
  const showChips = () => {
    if (!$("chips").children.length) $("chips").append(...CHIPS.map((state) => make("button", {
      type: "button", "data-state": state,
      on: { click: () => { chosen = state; showChips(); search(true); } },
    }, ...(state ? [swatch(state)] : []), state ? STATES[state] : "all")));
    for (const chip of $("chips").children) chip.setAttribute("aria-pressed", String(chip.dataset.state === chosen));
  };
  const search = async (anew = false) => {
    if (anew) { shown = PAGE; opened.clear(); }
    const mine = ++asked;
    const query = new URLSearchParams({ q: $("q").value, limit: String(Math.min(shown, 200)) });
    if (chosen) query.set("state", chosen);
    let answer;
    try {
      answer = await ask(`/api/register?${query}`);
      while (answer.rows.length < Math.min(shown, answer.matched)) {
        query.set("offset", String(answer.rows.length));
        query.set("limit", "200");
        const next = await ask(`/api/register?${query}`);
        if (!next.rows.length) break;
        answer.rows.push(...next.rows);
      }
    } catch (error) { return failed(error); }
    if (mine !== asked) return;
    const few = answer.rows.slice(0, shown);
    say("matched", answer.matched === answer.total ? `${number(answer.total)} ${answer.total === 1 ? "entry" : "entries"}` : `${number(answer.matched)} of ${number(answer.total)} entries`);
    const focused = document.activeElement?.dataset?.row;
    $("rows").replaceChildren(...few.flatMap(showRow));
    if (focused) document.querySelector(`button[data-row="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    $("no-rows").hidden = answer.matched > 0;
    say("no-rows", answer.total ? "No entry is like that." : "The policy reserves no port.");
    $("more").hidden = answer.matched <= shown;
    say("more", `Show more of ${number(answer.matched)}`);
  };
  const showRow = (row) => {
    const key = `${row.protocol} ${row.first} ${row.last} ${row.jobname} ${row.order}`;
    const isOpen = opened.has(key);
    const ports = row.first === 0 ? "unreserved" : row.first === row.last ? String(row.first) : `${row.first}–${row.last}`;
    const state = row.state === "closed" ? "reserved" : row.state;
    const toggle = () => { if (opened.has(key)) opened.delete(key); else opened.add(key); search(); };
    const more = row.holders.length > 1 ? make("span", { class: "quiet" }, ` and ${number(row.holders.length - 1)} more`) : null;
    const cells = make("tr", {},
      make("td", { class: "port" }, make("button", { type: "button", "aria-expanded": String(isOpen), "data-row": key, on: { click: toggle } },
        make("span", { class: "proto" }, `${row.protocol}/`), ports)),
      make("td", { class: "c-job" }, make("bdi", {}, row.jobname), ...(row.mode === "enforce" ? [] : [" ", make("span", { class: "tag" }, row.mode)])),
      make("td", { class: "c-state" }, state ? badge(state) : null),
      make("td", { class: "c-holder" }, row.holder ? process(row.holder) : null, more),
      make("td", { class: "number" }, row.refusals ? number(row.refusals) : null),
      make("td", { class: "c-text" }, row.description ? make("bdi", { class: "plain" }, row.description) : null));
    if (!isOpen) return [cells];
    const facts = [
      ["Written in", `${row.file}:${row.line}`], ["Flags", row.flags], ["Address", row.address], ["SAF resource", row.saf],
      ["Chosen as", row.order > 1 || row.closeness ? `${row.order}. of its port: ${row.closeness}` : null],
      ...row.holders.slice(0, 20).map((h) => [`Port ${h.port}`, `${h.comm ?? "unseen"} (pid ${h.pid ?? "?"}, user ${h.uid}${h.unit ? `, ${h.unit}` : ""}) at ${h.address}${h.listens ? "" : ", not listening"}${h.rightful === false ? ", NOT rightful" : ""}`]),
      ...row.refused.map((r) => ["Refused", `${r.comm ?? "?"} (user ${r.uid}, ${r.cgroup}) ${number(r.count)} ${r.count === 1 ? "time" : "times"}, last ${ago(r.time)}: ${r.reason}`]),
    ];
    return [cells, make("tr", { class: "more" }, make("td", { colspan: "6" }, make("dl", {}, ...facts.filter(([, text]) => text).flatMap(
      ([name, text]) => [make("dt", {}, name), make("dd", {}, make("bdi", {}, text))]))))];
  };
  let typing = null;
  $("q").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => search(true), 200); });
  $("search").addEventListener("submit", (event) => { event.preventDefault(); search(true); });
  $("more").addEventListener("click", () => { shown += 200; search(); });

  // ---- refusals -----------------------------------------------------------------------
  // Who asks for the same port again and again is one line.
  const together = (events) => events.reduce((groups, event) => {
    const last = groups.at(-1), times = event.repeated || 1;
    const alike = ["comm", "pid", "uid", "protocol", "port", "reason", "verdict"].every((key) => last?.[key] === event[key]);
    if (alike) last.times += times;
    else groups.push({ ...event, times });
    return groups;
  }, []);
  const showRefusals = ({ events, reasons }) => {
    $("no-refusals").hidden = events.length > 0;
    events = together(events).slice(0, 30);
    say("refusals-count", events.length ? `the last ${events.length}` : "");
    const key = JSON.stringify(events.map((event) => [event.time, event.port, event.pid, event.times]));
    if ($("refusals").dataset.key === key) return;
    $("refusals").dataset.key = key;
    $("refusals").replaceChildren(...events.map((event) => {
      const who = [event.pid === null ? null : `pid ${event.pid}`, `user ${event.uid}`].filter(Boolean).join(", ");
      return make("li", {},
        make("div", { class: "line" },
          make("span", {}, make("b", { class: "mono" }, event.port === null ? event.protocol ?? "?" : `${event.protocol}/${event.port}`), " ",
            make("bdi", {}, event.comm ?? "unknown"), make("span", { class: "quiet" }, ` ${who}`)),
          make("time", { class: "quiet", datetime: event.time }, clock(event.time))),
        make("div", {}, ...(event.verdict === "would-deny" ? [make("span", { class: "tag" }, "audit"), " "] : []),
          reasons[event.reason] ?? event.reason, ...(event.times > 1 ? [" ", make("span", { class: "tag" }, `${number(event.times)} times`)] : [])),
        make("div", { class: "quiet" }, make("bdi", {}, event.cgroup), ...(event.entry ? [" · ", make("bdi", {}, event.entry.text ? `line ${event.entry.line}: ${event.entry.text}` : `line ${event.entry.line}`)] : [])));
    }));
  };

  buildMaps();
  showChips();
  every(2000, async () => { showStatus(await ask("/api/status")); tellAge(); });
  every(2500, async () => showRefusals(await ask("/api/refusals")));
  every(4000, async () => showMap(await ask("/api/map")));
  every(6000, () => search());
})();
