// Small comforts on top of pages that work without them: copy buttons, one click a payment, live progress that glides.
"use strict";

// --- Copy buttons: the style sheet shows them where there is a script to make them work ------------------------------
document.documentElement.classList.add("scripted");

async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  // Plain HTTP (a desk on a local network) has no clipboard API.
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("not copied");
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const said = document.getElementById("said");
  try {
    await copy(button.dataset.copy);
    button.classList.add("copied");
    said.textContent = `Copied ${button.dataset.what}.`;
  } catch {
    said.textContent = "Copying is not possible here. Select the text and copy it.";
  }
  button.focus();
  setTimeout(() => button.classList.remove("copied"), 1500);
});

// --- One click sends a form once; the server would recognise a second one anyway ------------------------------------
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.once === undefined) return;
  if (form.dataset.sent !== undefined) return event.preventDefault();
  form.dataset.sent = "";
  form.querySelector("[type=submit]").setAttribute("aria-disabled", "true");
});

// A page that comes back out of the browser's memory may be sent again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.querySelector("[type=submit]").removeAttribute("aria-disabled");
  }
});

// --- Live progress --------------------------------------------------------------------------------------------------
// The bar is replaced at each change; it starts where the old one was, so that the style sheet can make it glide.
let lastValue = null;
document.addEventListener("htmx:beforeSwap", () => {
  const bar = document.querySelector("[data-live] progress");
  lastValue = bar && bar.hasAttribute("value") ? bar.value : null;
});
document.addEventListener("htmx:afterSwap", () => {
  const bar = document.querySelector("[data-live] progress");
  if (!bar || lastValue === null || !bar.hasAttribute("value") || bar.value === lastValue) return;
  const value = bar.value;
  bar.value = lastValue;
  bar.getBoundingClientRect();
  bar.value = value;
});

function tellConnection(lost) {
  const note = document.getElementById("connection-lost");
  if (note) note.hidden = !lost;
}
document.addEventListener("htmx:sendError", () => tellConnection(true));
document.addEventListener("htmx:responseError", () => tellConnection(true));
document.addEventListener("htmx:afterOnLoad", (event) => {
  if (event.detail.xhr.status < 400) tellConnection(false);
});
