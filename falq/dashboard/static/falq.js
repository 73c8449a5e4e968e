"use strict";
// Texts of strangers are only ever set as textContent: nothing here parses HTML.

const EVERY_MS = 2000;
const MOST_FILES = 3;
const MOST_JOBS = 8;
const PHASES = { submitting: "sending", submitted: "in fal's queue", downloading: "saving files" };
const LIMITS = {
  rate: "the queue's rate", interval: "the start interval", concurrency: "max_concurrent",
  paused: "paused", hold: "a hold",
};

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function span(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86400)} d`;
}

function size(bytes) {
  return bytes < 1048576 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;
}

function bar(name, share, text, waits) {
  const fill = el("div", { class: waits ? "fill wait" : "fill" });
  fill.style.width = `${Math.round(Math.min(1, Math.max(0, share)) * 100)}%`;
  const track = el("div", { class: "track", role: "img", "aria-label": `${name}: ${text}` }, fill);
  return el("div", { class: "bar" }, el("span", { class: "soft" }, name), track, el("span", {}, text));
}

function queueCard(queue, several) {
  const account = queue.queue === "@";
  const title = account ? "the whole account" : queue.queue;
  const most = queue.max_concurrent;
  const card = el("div", { class: "card", "data-queue": queue.queue }, el("h3", {}, title,
    several ? el("small", {}, ` ${queue.account}`) : null));
  card.append(bar("running", most ? queue.running / most : 0, `${queue.running} of ${most ?? "∞"}`));
  card.append(bar("waiting", queue.waiting / Math.max(10, queue.waiting), String(queue.waiting), true));
  if (queue.rate_per_min) {
    card.append(el("div", { class: "facts" },
      `${queue.rate_per_min} starts a minute, ${queue.burst} at once, ${queue.start_interval_s} s apart`));
  }
  if (queue.limit) {
    const held = queue.limit === "paused" ? "" : "next start held by ";
    const whose = queue.held_by_account ? "the account: " : "";
    const reason = whose + (queue.limit === "hold" && queue.hold_reason
      ? `a hold: ${queue.hold_reason}` : LIMITS[queue.limit] || queue.limit);
    const wait = queue.wait_s ? ` for ${span(queue.wait_s)}` : "";
    card.append(el("p", { class: "held" }, `${held}${reason}${wait}`));
  }
  return card;
}

function chip(phase, mode) {
  // A sync call is answered when it is done: it runs while it is being sent.
  const text = mode === "sync" && phase === "submitting" ? "running at fal" : PHASES[phase];
  return el("span", { class: `chip ${phase}` }, text || phase);
}

function jobRow(job) {
  const link = el("a", { href: `/rq/0/view/job/${encodeURIComponent(job.job_id)}` }, job.job_id);
  return el("div", { class: "row", "data-job": job.job_id },
    el("strong", {}, job.model_id || job.queue),
    el("span", {}, chip(job.phase, job.mode)),
    el("span", { class: "soft" }, `${span(job.age_s)}, here for ${span(job.in_phase_s)}`),
    el("span", { class: "soft" }, link, job.request_id ? ` · fal ${job.request_id}` : "",
      job.phase === "unknown" ? command(`falq resolve ${job.job_id}`) : null));
}

function command(text) {
  return el("div", {}, el("code", { class: "command" }, text));
}

function media(file) {
  const kind = file.content_type.split("/")[0];
  if (file.url && kind === "image" && file.content_type !== "image/svg+xml") {
    return el("a", { href: file.url }, el("img", { src: file.url, alt: file.name, loading: "lazy" }));
  }
  if (file.url && kind === "video") {
    return el("video", { src: file.url, controls: "", muted: "", preload: "metadata" });
  }
  if (file.url && kind === "audio") {
    return el("audio", { src: file.url, controls: "", preload: "none" });
  }
  return el("div", { class: "file" }, file.name, " ",
    el("span", { class: "soft" }, file.url ? "" : "not on this machine"));
}

function fileLink(file) {
  const name = file.url ? el("a", { href: file.url }, file.name) : file.name;
  const beside = file.sidecar ? el("a", { href: file.sidecar }, "sidecar") : null;
  return el("div", {}, name, ` ${size(file.bytes)} `, beside);
}

function fileLinks(files) {
  const links = files.map(fileLink);
  const made = el("div", { class: "facts" }, ...links.slice(0, MOST_FILES));
  const rest = links.slice(MOST_FILES);
  if (rest.length) {
    made.append(el("details", {}, el("summary", {}, `${rest.length} more files`), ...rest));
  }
  return made;
}

function resultCard(result, now) {
  const card = el("article", { class: "card result", "data-job": result.job_id });
  if (result.files.length) {
    const several = result.files.length > 1 ? "media several" : "media";
    card.append(el("div", { class: several }, ...result.files.slice(0, 4).map(media)));
  }
  const facts = [`took ${span(result.total_s)}`, `${span(Math.max(0, now - result.finished_at))} ago`];
  if (result.billable_units !== null) facts.unshift(`${result.billable_units} units`);
  if (result.recovered) facts.push("recovered");
  const prompt = result.arguments.prompt || result.arguments.text;
  card.append(el("div", { class: "text" },
    el("h3", {}, result.model_id, " ", result.phase === "failed" ? chip("failed") : null),
    result.error ? el("p", { class: "error" }, result.error) : null,
    typeof prompt === "string" ? el("p", { class: "prompt" }, prompt) : null,
    result.remedy ? command(result.remedy) : null,
    el("div", { class: "facts" }, facts.join(" · ")),
    el("div", { class: "facts" }, "job ", el("a",
      { href: `/rq/0/view/job/${encodeURIComponent(result.job_id)}` }, result.job_id),
      result.request_id ? ` · fal ${result.request_id}` : ""),
    fileLinks(result.files),
    el("details", {}, el("summary", {}, "arguments"),
      el("pre", {}, JSON.stringify(result.arguments, null, 2)),
      el("pre", {}, result.queue))));
  return card;
}

function workerRow(worker) {
  return el("div", { class: "row" }, el("strong", {}, worker.host),
    el("span", {}, `${worker.jobs} of ${worker.concurrency}`),
    el("span", { class: "soft" }, `falq ${worker.version}`),
    el("span", { class: "soft" }, `${worker.name} · queues ${worker.queues}`));
}

function fill(id, holder, children) {
  const section = document.getElementById(id);
  section.hidden = children.length === 0;
  section.querySelector(holder).replaceChildren(...children);
}

const drawn = new Map();

// A card stays as it is while its result does: a video that plays is not torn down.
function drawResults(results, now) {
  const grid = document.querySelector("#results .grid");
  const cards = results.map((result) => {
    const mark = JSON.stringify([result.phase, result.finished_at, result.files]);
    const known = drawn.get(result.job_id);
    if (known && known.mark === mark) return known.card;
    const card = resultCard(result, now);
    drawn.set(result.job_id, { mark, card });
    return card;
  });
  const same = cards.length === grid.children.length && cards.every((card, i) => grid.children[i] === card);
  if (!same) grid.replaceChildren(...cards);
  if (!cards.length) grid.replaceChildren(el("p", { class: "soft" }, "nothing has ended yet"));
}

// A limit of the last start soon passes: only what somebody has to lift is worth a card.
function isIdle(queue) {
  const stopped = queue.paused || queue.limit === "hold" && !queue.held_by_account;
  return !queue.running && !queue.waiting && !stopped;
}

function drawJobs(jobs) {
  const rest = jobs.slice(MOST_JOBS);
  document.querySelector("#jobs small").textContent = String(jobs.length);
  fill("jobs", ".rows", jobs.slice(0, MOST_JOBS).map(jobRow));
  fill("more-jobs", ".rows", rest.map(jobRow));
  document.querySelector("#more-jobs summary").textContent = `${rest.length} more`;
}

function drawQueues(state) {
  const several = state.accounts.length > 1;
  const accounts = state.accounts.filter((each) => each.max_concurrent !== null || each.paused || each.limit);
  const busy = state.queues.filter((queue) => !isIdle(queue));
  const idle = state.queues.filter(isIdle);
  const card = (queue) => queueCard(queue, several);
  fill("queues", ".cards", [...accounts, ...busy].map(card));
  fill("idle", ".cards", idle.map(card));
  document.querySelector("#idle summary").textContent =
    idle.length === 1 ? "1 idle queue" : `${idle.length} idle queues`;
}

function draw(state) {
  const server = state.server;
  const where = server.embedded ? "embedded" : "Redis";
  say(`${where} ${server.product} ${server.version} · ${state.workers.length} worker(s)` +
    (state.intake ? ` · ${state.intake} jobs wait for a worker with a key` : ""), false);
  drawQueues(state);
  drawJobs(state.jobs.filter((job) => job.phase !== "unknown"));
  fill("unknown", ".rows", state.unknown.map(jobRow));
  fill("workers", ".rows", state.workers.map(workerRow));
  drawResults(state.results, state.at);
}

function say(text, down) {
  const server = document.getElementById("server");
  server.textContent = text;
  server.classList.toggle("down", down);
}

async function look() {
  try {
    const answer = await fetch("/api/state", { headers: { Accept: "application/json" } });
    const state = await answer.json();
    if (answer.ok) draw(state);
    else say(`${state.error}; looking again`, true);
  } catch {
    say("the dashboard does not answer; looking again", true);
  }
  document.body.dataset.looks = String(Number(document.body.dataset.looks || 0) + 1);
}

async function loop() {
  if (!document.hidden) await look();
  setTimeout(loop, EVERY_MS);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
loop();
