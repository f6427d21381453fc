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
  if (at) section.querySelector(`[data-key="${CSS.escape(at)}"] > summary`)?.focus();
}

const link = document.getElementById("link");
function say(text, name) {
  if (link.textContent !== text) link.textContent = text;
  link.className = name;
}
const source = new EventSource("events");
source.addEventListener("open", () => say("live", "live"));
source.addEventListener("error", () => say("connection lost, trying again", "lost"));
source.addEventListener("sections", (event) => {
  say("live", "live");
  for (const [id, html] of Object.entries(JSON.parse(event.data))) {
    const section = document.getElementById(id);
    if (section) replace(section, html);
  }
  const title = document.querySelector("[data-title]");
  if (title) document.title = title.dataset.title;
});
