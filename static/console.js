// What script adds to the console; every page works without it. Times in the operator's zone, keys, dialogs, copying,
// the mark that says whether live figures are live. No handler is ever written into a page.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const each = (root, selector, act) => root.querySelectorAll(selector).forEach(act);

  // Instants: the server writes UTC; here they become the operator's zone, with UTC on hover.
  const instant = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const units = [["day", 172800, 86400], ["h", 3600, 3600], ["min", 60, 60], ["s", 0, 1]];
  const age = (at) => {
    const seconds = (Date.now() - at) / 1000;
    const size = Math.abs(seconds);
    if (size < 5) return "just now";
    const [name, , length] = units.find(([, from]) => size >= from);
    const words = Math.floor(size / length) + " " + (name === "day" ? "days" : name);
    return seconds < 0 ? "in " + words : words + " ago";
  };
  const times = (root) => each(root, "time[datetime]", (time) => {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) return;
    if (!time.dataset.utc) time.dataset.utc = time.title || time.textContent;
    const local = instant.format(at);
    const text = "age" in time.dataset ? age(at) : "clock" in time.dataset ? clock.format(at) : local;
    if (time.textContent !== text) time.textContent = text;
    time.title = "age" in time.dataset ? local + " (" + time.dataset.utc + ")" : time.dataset.utc;
  });

  const wake = (root) => {
    times(root);
    each(root, "[data-opens], [data-copies]", (button) => { button.hidden = false; });
    // One stop for the keyboard on the ring; arrows go on from there.
    each(root, ".wedges", (wedges) => {
      const stop = wedges.querySelector("[aria-current]") || wedges.firstElementChild;
      each(wedges, "a", (wedge) => { wedge.tabIndex = wedge === stop ? 0 : -1; });
    });
  };

  const point = (event) => {
    const wedge = event.target.closest && event.target.closest(".wedges a");
    if (wedge && $("pointed")) $("pointed").textContent = "Partition " + wedge.querySelector("title").textContent;
  };
  document.addEventListener("pointerover", point);
  document.addEventListener("focusin", point);
  const turns = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 16, PageUp: -16 };
  document.addEventListener("keydown", (event) => {
    const wedge = event.target.closest && event.target.closest(".wedges a");
    if (!wedge || !turns[event.key]) return;
    const all = wedge.parentElement.children;
    const next = all[([...all].indexOf(wedge) + turns[event.key] + all.length) % all.length];
    wedge.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    event.preventDefault();
  });

  const copy = async (button) => {
    const source = $(button.dataset.copies);
    const text = source.value === undefined ? source.textContent : source.value;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Plain HTTP off loopback has no clipboard: select it, so that the keyboard can.
      getSelection().selectAllChildren(source);
      return;
    }
    const label = button.querySelector("span") || button;
    label.dataset.was = label.dataset.was || label.textContent;
    label.textContent = "Copied";
    setTimeout(() => { label.textContent = label.dataset.was; }, 2000);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-opens], [data-copies]");
    if (button && button.dataset.opens) $(button.dataset.opens).showModal();
    if (button && button.dataset.copies) copy(button);
    each(document, "details.pop[open]", (pop) => { if (!pop.contains(event.target)) pop.open = false; });
  });

  // Keys, never while somebody types.
  const goes = { o: "/", m: "/members", r: "/ring", d: "/data", i: "/shared", c: "/convergence", l: "/lab", s: "/settings" };
  let went = 0;
  const typing = (target) => target.closest && target.closest("input, textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") each(document, "details.pop[open]", (pop) => { pop.open = false; pop.firstElementChild.focus(); });
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
    if (Date.now() - went < 1500 && goes[event.key]) {
      went = 0;
      location.assign(goes[event.key]);
      return;
    }
    went = 0;
    const search = document.querySelector("[data-search]");
    if (event.key === "g") went = Date.now();
    else if (event.key === "?") $("shortcuts").showModal();
    else if (event.key === "/" && search) { search.focus(); search.select(); }
    else if (event.key === "t") nextTheme();
    else if (event.key === "p" && $("pause")) $("pause").click();
    else return;
    event.preventDefault();
  });

  const themes = ["auto", "light", "dark"];
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    each(document, "#theme [name=theme]", (button) => button.setAttribute("aria-pressed", String(button.value === theme)));
  };
  const keep = (theme) => {
    show(theme);
    const body = new URLSearchParams({ theme, next: "/" });
    fetch("/theme", { method: "POST", body, redirect: "manual" }).catch(() => {});
  };
  const nextTheme = () => keep(themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length]);
  document.addEventListener("submit", (event) => {
    if (event.target.id === "theme" && event.submitter) {
      event.preventDefault();
      keep(event.submitter.value);
    }
  });

  // Live figures. htmx asks for a source; ours sleeps while nobody looks or while it is paused, and comes back by itself.
  const SILENCE_MS = 11000; // two heartbeats and a little
  const RETRY_MS = 2000;
  const state = { last: 0, since: 0, paused: false };
  const streams = new Set();
  class Stream extends EventTarget {
    constructor(url) {
      super();
      this.url = url;
      this.readyState = EventSource.OPEN;
      this.names = new Set();
      streams.add(this);
      this.addEventListener("beat", () => { state.since = state.last = Date.now(); });
      this.addEventListener("end", () => location.reload());
      this.wake();
    }
    wake() {
      const wanted = !this.closed && !state.paused && !document.hidden;
      if (!wanted && this.source) { this.source.close(); this.source = null; }
      if (!wanted || this.source) return;
      this.source = new EventSource(this.url);
      this.source.onerror = () => {
        // A refusal ends an EventSource for good; a broken connection does not, but waits as it likes.
        this.source.close();
        this.source = null;
        state.last = 0;
        setTimeout(() => this.wake(), RETRY_MS);
      };
      this.names.forEach((name) => this.pass(name));
    }
    pass(name) {
      this.source.addEventListener(name, (event) => this.dispatchEvent(new MessageEvent(name, { data: event.data })));
    }
    addEventListener(name, listener) {
      super.addEventListener(name, listener);
      if (this.names.has(name)) return;
      this.names.add(name);
      if (this.source) this.pass(name);
    }
    close() { this.closed = true; this.wake(); streams.delete(this); }
  }
  if (window.htmx) htmx.createEventSource = (url) => new Stream(url);
  const tell = () => {
    if (!streams.size || !$("live")) return;
    const fresh = Date.now() - state.last < SILENCE_MS;
    const since = state.since ? " since " + clock.format(state.since) : "";
    const [name, kind, icon, text] = state.paused ? ["paused", "", "pause", "Paused" + since]
      : fresh ? ["live", "ok", "live", "Live"]
      : document.hidden || Date.now() - began < SILENCE_MS && !state.since ? ["connecting", "", "clock", "Connecting"]
      : ["stale", "bad", "warn", "Stale" + since];
    document.documentElement.dataset.live = name;
    $("live").hidden = false;
    const mark = $("live-state").firstElementChild;
    if (mark.dataset.says === text) return;
    mark.dataset.says = text;
    mark.className = "state " + kind;
    const use = document.querySelector("#badge use").cloneNode();
    use.setAttribute("href", use.getAttribute("href").replace(/#.*/, "#" + icon));
    const drawn = document.querySelector("#badge svg").cloneNode();
    drawn.append(use);
    mark.replaceChildren(drawn, text);
  };
  const began = Date.now();
  const look = () => { streams.forEach((stream) => stream.wake()); tell(); };
  document.addEventListener("visibilitychange", look);
  setInterval(tell, 1000);
  if ($("pause")) $("pause").addEventListener("click", () => {
    state.paused = !state.paused;
    $("pause").setAttribute("aria-pressed", String(state.paused));
    look();
  });
  // What is open stays open and what has the focus keeps it when a piece of the page is replaced under it.
  const kept = new Map();
  document.addEventListener("htmx:sseBeforeMessage", (event) => {
    const focus = event.target.contains(document.activeElement) ? document.activeElement.closest("[id]") : null;
    const open = [...event.target.querySelectorAll("details[open][id]")].map((details) => details.id);
    kept.set(event.target, { open, focus: focus && focus.id, verdict: $("verdict") && $("verdict").textContent });
  });
  document.addEventListener("htmx:sseMessage", (event) => {
    const { open, focus, verdict } = kept.get(event.target) || { open: [] };
    open.forEach((id) => { if ($(id)) $(id).open = true; });
    if (focus && $(focus)) ($(focus).matches("details") ? $(focus).firstElementChild : $(focus)).focus();
    if (verdict && $("verdict") && $("verdict").textContent !== verdict) $("announce").textContent = $("verdict").textContent;
    wake(event.target);
    tell();
  });

  // htmx shows a refusal where it belongs: in the place that the page names, else as a page of its own.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const status = event.detail.xhr.status;
    if (status === 401) { event.detail.shouldSwap = false; location.reload(); }
    else if (status === 422 || status === 409 || status === 412) { event.detail.shouldSwap = true; event.detail.isError = false; }
  });
  document.addEventListener("htmx:load", (event) => wake(event.detail.elt));

  wake(document);
  setInterval(() => times(document), 10000);
})();
