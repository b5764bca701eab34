"use strict";
// Small behaviours of the pages. Everything is found by what the markup says; nothing is inlined,
// so that the content-security policy can forbid inline code.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// --- times in the reader's zone, UTC on hover ------------------------------------------------

function localTimes(root = document) {
  for (const time of $$("time[datetime]", root)) {
    const moment = new Date(time.dateTime);
    const today = moment.toDateString() === new Date().toDateString();
    const clock = moment.toLocaleTimeString([], { hour12: false }) + "." + String(moment.getMilliseconds()).padStart(3, "0");
    time.textContent = today ? clock : moment.toLocaleDateString() + " " + clock.slice(0, 8);
  }
}

// --- rows: click, keyboard -------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-href]");
  if (row && !event.target.closest("a, button") && !getSelection().toString()) location.href = row.dataset.href;
  const copy = event.target.closest("button.copy");
  if (copy) copyText(copy, $("pre", copy.parentElement).textContent);
  const tab = event.target.closest("[data-tab]");
  if (tab) chooseTab(tab);
  const revoke = event.target.closest("button.revoke");
  if (revoke) revokeKey(revoke.dataset.key);
  const limit = event.target.closest("button.limit-key");
  if (limit) openKeyLimits(limit.dataset);
  const unlimit = event.target.closest("button.delete-limit");
  if (unlimit) deleteLimit(unlimit.dataset.limit);
  if (event.target.closest("dialog button.close")) event.target.closest("dialog").close();
  const make = event.target.closest("button.make-key");
  if (make) makeKey({ role: "caller", services: [make.dataset.service], label: `for ${make.dataset.service}` }, $(".new-key"));
});

async function copyText(button, text) {
  await navigator.clipboard.writeText(text);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 1200);
}

function chooseTab(tab) {
  const box = tab.closest("[data-tabs]");
  for (const other of $$("[data-tab]", box)) other.setAttribute("aria-selected", String(other === tab));
  for (const panel of $$("[data-panel]", box)) panel.hidden = panel.dataset.panel !== tab.dataset.tab;
}

const places = { o: "/", s: "/services", m: "/models", p: "/providers", r: "/requests", c: "/chat", k: "/keys", l: "/limits" };
let goPressed = false;

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (goPressed && places[event.key]) location.href = places[event.key];
  goPressed = event.key === "g";
  if (event.key === "?") $("#help").showModal();
  if (event.key === "/" && $("#search")) { event.preventDefault(); $("#search").focus(); }
  if (event.key === "j" || event.key === "k") moveChoice(event.key === "j" ? 1 : -1);
  if (event.key === "Enter" && $("tr.chosen")) location.href = $("tr.chosen").dataset.href;
});

function moveChoice(step) {
  const rows = $$("tr[data-href]");
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.classList.contains("chosen"));
  rows[at]?.classList.remove("chosen");
  const next = rows[Math.min(rows.length - 1, Math.max(0, at + step))];
  next.classList.add("chosen");
  next.scrollIntoView({ block: "nearest" });
}

// --- keys ------------------------------------------------------------------------------------

async function api(method, path, body) {
  const answer = await fetch(path, {
    method, headers: { "content-type": "application/json" }, body: body && JSON.stringify(body),
  });
  const value = await answer.json();
  if (!answer.ok) throw new Error([value.error.message, value.error.hint].filter(Boolean).join(" – "));
  return value;
}

async function makeKey(fields, place) {
  place.hidden = false;
  try {
    const made = await api("POST", "/api/keys", fields);
    const pre = element("pre", { textContent: made.key });
    const copy = element("button", { className: "copy", type: "button", textContent: "Copy" });
    const box = element("div", { className: "code" }, pre, copy);
    place.replaceChildren(element("strong", { textContent: "Your key, shown only now:" }), box,
      element("span", { className: "hint", textContent: `export MODELYARD_API_KEY=${made.key}` }));
  } catch (problem) {
    place.replaceChildren(element("span", { className: "bad", textContent: problem.message }));
  }
}

async function revokeKey(id) {
  if (!confirm(`Revoke key ${id}? Whatever uses it stops working at once.`)) return;
  try {
    await api("DELETE", `/api/keys/${id}`);
    location.reload();
  } catch (problem) {
    alert(problem.message);
  }
}

$("#key-form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const { services, role, team, person, client, label, priority, ...bounds } = Object.fromEntries(new FormData(event.target));
  const limits = withoutNull(boundsOf(bounds));
  makeKey({ role, team, person, client, label, priority, limits, services: services ? [services] : [] }, $("#new-key"));
});

// --- limits ----------------------------------------------------------------------------------

function boundsOf(fields) {
  const number = (name) => (fields[name] ? Number(fields[name]) : null);
  const usd = number("budget_usd");
  return {
    requests_per_minute: number("rpm"), tokens_per_minute: number("tpm"), concurrency: number("concurrency"),
    budget: usd ? { usd, per: fields.per } : null, unknown_price: usd ? fields.unknown_price : null,
  };
}

function withoutNull(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== ""));
}

async function change(problem, call) {
  try {
    await call();
    location.reload();
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
}

$("#limit-form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const { name, key, team, person, service, each, ...bounds } = Object.fromEntries(new FormData(event.target));
  const spec = withoutNull({ key, team, person, service, each, ...boundsOf(bounds) });
  const body = { apiVersion: "modelyard/v1", kind: "Limit", name, spec };
  change($("#limit-problem"), () => api("POST", "/api/limits", body));
});

async function deleteLimit(name) {
  if (!confirm(`Delete limit ${name}? Nothing is bounded by it any more.`)) return;
  try {
    await api("DELETE", `/api/limits/${name}`);
    location.reload();
  } catch (problem) {
    alert(problem.message);
  }
}

function openKeyLimits({ key, limits, priority }) {
  const form = $("#key-limits"), known = JSON.parse(limits), budget = known.budget || {};
  const values = {
    rpm: known.requests_per_minute, tpm: known.tokens_per_minute, concurrency: known.concurrency,
    budget_usd: budget.usd, per: budget.per || "month", unknown_price: known.unknown_price || "refuse", priority,
  };
  for (const [name, value] of Object.entries(values)) form.elements[name].value = value ?? "";
  $("code", form).textContent = form.dataset.key = key;
  $(".bad", form).hidden = true;
  $("#limit-dialog").showModal();
}

$("#key-limits")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target, { priority, ...bounds } = Object.fromEntries(new FormData(form));
  const body = { limits: boundsOf(bounds), priority };
  change($(".bad", form), () => api("PATCH", `/api/keys/${form.dataset.key}`, body));
});

$("select[data-submit]")?.addEventListener("change", (event) => event.target.form.submit());

// --- live requests ---------------------------------------------------------------------------

const MOST_ROWS = 200;

function followRequests(body) {
  let waiting = false;
  const source = new EventSource("/api/live");
  source.onopen = () => { $("#live-sign").hidden = false; };
  source.onerror = () => { $("#live-sign").hidden = true; };
  // Rows are rendered in one place, the server: a burst of events costs one fetch.
  source.addEventListener("request", () => {
    if (waiting) return;
    waiting = true;
    setTimeout(async () => {
      waiting = false;
      const page = new DOMParser().parseFromString(await (await fetch("/requests")).text(), "text/html");
      takeRows(body, $$("#live-rows tr", page));
    }, 200);
  });
}

function takeRows(body, rows) {
  const known = new Set($$("tr", body).map((row) => row.dataset.href));
  const fresh = rows.filter((row) => !known.has(row.dataset.href));
  for (const row of fresh) row.classList.add("fresh");
  body.prepend(...fresh);
  for (const old of $$("tr", body).slice(MOST_ROWS)) old.remove();
  localTimes(body);
}

// --- chat ------------------------------------------------------------------------------------

function startChat(root) {
  const messages = [];
  const list = $("#messages");
  let running = null;

  function show(role, text) {
    const made = element("div", { className: `message ${role}`, textContent: text });
    list.append(made);
    list.scrollTop = list.scrollHeight;
    return made;
  }

  async function ask(question) {
    if (running || !question.trim()) return;
    $(".about")?.remove();
    messages.push({ role: "user", content: question });
    show("user", question);
    const bubble = show("assistant", "");
    const facts = element("div", { className: "facts" });
    running = new AbortController();
    $("#send").hidden = true;
    $("#stop").hidden = false;
    try {
      const text = await stream(bubble, facts);
      if (text) messages.push({ role: "assistant", content: text });
      else messages.pop();
    } finally {
      bubble.after(facts);
      list.scrollTop = list.scrollHeight;
      running = null;
      $("#send").hidden = false;
      $("#stop").hidden = true;
      $("#question").focus();
    }
  }

  function body() {
    const system = $("#system").value.trim();
    return {
      model: root.dataset.service, stream: true, stream_options: { include_usage: true },
      messages: system ? [{ role: "system", content: system }, ...messages] : messages,
      temperature: Number($("#temperature").value), top_p: Number($("#top-p").value),
      max_tokens: Number($("#max-tokens").value),
    };
  }

  async function stream(bubble, facts) {
    const begin = performance.now();
    let text = "", first = null, usage = null, reason = "", id = "";
    try {
      const answer = await fetch("/api/chat", {
        method: "POST", headers: { "content-type": "application/json" },
        body: JSON.stringify(body()), signal: running.signal,
      });
      id = answer.headers.get("x-request-id") || "";
      if (!answer.ok) throw new Error((await answer.json()).error.message);
      for await (const data of events(answer.body)) {
        if (data === "[DONE]") break;
        const chunk = JSON.parse(data);
        if (chunk.error) throw new Error(chunk.error.message);
        usage = chunk.usage || usage;
        const choice = chunk.choices?.[0];
        if (choice?.delta?.content) {
          first ??= performance.now() - begin;
          text += choice.delta.content;
          bubble.textContent = text;
          list.scrollTop = list.scrollHeight;
        }
        reason = choice?.finish_reason || reason;
      }
    } catch (problem) {
      if (problem.name === "AbortError") reason = "stopped";
      else { bubble.classList.add("failed"); bubble.textContent = text + (text ? "\n" : "") + problem.message; }
    }
    tell(facts, { usage, first, whole: performance.now() - begin, reason, id });
    return text;
  }

  function tell(facts, { usage, first, whole, reason, id }) {
    const parts = [];
    if (usage) {
      parts.push(`${usage.prompt_tokens} tokens in, ${usage.completion_tokens} out`);
      const dollars = (usage.prompt_tokens * root.dataset.inputPrice + usage.completion_tokens * root.dataset.outputPrice) / 1e6;
      parts.push(dollars ? `$${dollars.toPrecision(2)}` : "no price set");
    }
    if (first !== null) parts.push(`first token ${Math.round(first)} ms`);
    parts.push(`${Math.round(whole)} ms in all`);
    if (reason && reason !== "stop") parts.push(reason);
    facts.textContent = parts.join(" · ");
    if (id) facts.append(" · ", element("a", { href: `/requests/${id}`, textContent: "record" }));
  }

  $("#ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const question = $("#question").value;
    $("#question").value = "";
    ask(question);
  });
  $("#question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); $("#ask").requestSubmit(); }
  });
  $("#stop").addEventListener("click", () => running?.abort());
  $("#new-chat").addEventListener("click", () => location.reload());
  for (const button of $$("button.ask")) button.addEventListener("click", () => ask(button.textContent));
  const given = new URLSearchParams(location.search).get("question");
  if (given) { history.replaceState(null, "", `/chat?service=${root.dataset.service}`); ask(given); }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data) yield data;
    }
  }
}

localTimes();
document.body.addEventListener("htmx:load", (event) => localTimes(event.detail.elt));
if ($("#live-rows")) followRequests($("#live-rows"));
if ($("#chat")) startChat($("#chat"));
