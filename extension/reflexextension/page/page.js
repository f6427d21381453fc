// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// The server writes the sections of the page, at first and whenever one has changed;
// this puts them in their places. Without it the page reloads itself.
"use strict";

const themes = ["system", "light", "dark"];
const button = document.getElementById("theme");
function show(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  button.textContent = "Theme: " + theme;
}
let theme = "system";
try {
  if (themes.includes(localStorage.getItem("theme"))) theme = localStorage.getItem("theme");
} catch { /* storage may be forbidden */ }
show(theme);
button.addEventListener("click", () => {
  theme = themes[(themes.indexOf(theme) + 1) % themes.length];
  show(theme);
  try { localStorage.setItem("theme", theme); } catch { /* as above */ }
});

// What is open, and where the keyboard is, stays.
function replace(section, html) {
  const open = new Map();
  for (const d of section.querySelectorAll("details[data-key]")) open.set(d.dataset.key, d.open);
  const at = section.contains(document.activeElement) ? document.activeElement.closest("[data-key]")?.dataset.key : undefined;
  section.innerHTML = html;
  for (const d of section.querySelectorAll("details[data-key]")) if (open.has(d.dataset.key)) d.open = open.get(d.dataset.key);
  if (at) {
    const again = section.querySelector(`[data-key="${CSS.escape(at)}"]`);
    (again?.querySelector("summary") ?? again)?.focus();
  }
}

const link = document.getElementById("link");
function say(text, name) {
  if (link.textContent !== text) link.textContent = text;
  link.className = name;
}
let source, heard, retry;
function alive() {
  heard = Date.now();
  say("live", "live");
}
function connect() {
  clearTimeout(retry);
  heard = Date.now();
  source = new EventSource("events");
  source.addEventListener("open", alive);
  source.addEventListener("beat", alive);
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) {
      say("connection lost, trying again", "lost");
      return;
    }
    say("not live: too many pages are, or it is not answered; trying again", "lost");
    clearTimeout(retry);
    retry = setTimeout(connect, 10000);
  });
  source.addEventListener("sections", (event) => {
    alive();
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const section = document.getElementById(id);
      if (section) replace(section, html);
    }
    const title = document.querySelector("[data-title]");
    if (title) document.title = title.dataset.title;
  });
}
connect();
// A collector that hangs, or a tunnel that does, says nothing; one that lives does, every
// ten seconds at least.
setInterval(() => {
  if (Date.now() - heard > 25000) {
    say("nothing heard for a while: what is shown is old; trying again", "lost");
    source.close();
    connect();
  }
}, 5000);
