// What the pages do better with a script; everything works without it.
"use strict";

// Copy buttons: hidden until there is something that can copy.
const reveal = () => {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = false;
};
reveal();
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const label = button.textContent;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = label; }, 1500);
});

// A page about what goes on asks for itself again. What it has stays until there is something newer, and says so when it is old.
const main = document.querySelector("main[data-refresh]");
if (main) {
  const pause = Number(main.dataset.refresh) * 1000;
  const note = document.querySelector(".freshness");
  let seen = new Date();
  const refresh = async () => {
    const isBusy = document.hidden || main.contains(document.activeElement) || main.querySelector("details[open]");
    if (isBusy) return;
    try {
      const answer = await fetch(location.href, { headers: { "x-threadline-refresh": "1" }, signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      main.replaceChildren(...page.querySelector("main").childNodes);
      reveal();
      seen = new Date();
      note.hidden = true;
    } catch {
      note.textContent = `As of ${seen.toLocaleTimeString()}: the server has not answered since.`;
      note.hidden = false;
    }
  };
  const again = () => setTimeout(() => refresh().finally(again), pause);
  again();
}

// Transactions of one correlation share its colour while one of them is pointed at.
const correlated = document.querySelectorAll(".transaction[data-correlation]");
const join = (id, on) => {
  for (const other of correlated) {
    other.classList.toggle("same", on && other.dataset.correlation === id);
  }
};
for (const transaction of correlated) {
  const id = transaction.dataset.correlation;
  for (const event of ["mouseenter", "focusin"]) transaction.addEventListener(event, () => join(id, true));
  for (const event of ["mouseleave", "focusout"]) transaction.addEventListener(event, () => join(id, false));
}

// The versions of a row as one line to slide along: it says which one while it moves, and shows it when it is let go.
for (const form of document.querySelectorAll("form.travel")) {
  const select = form.querySelector("select");
  const slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: select.length - 1, step: 1 });
  const said = document.createElement("output");
  const say = () => {
    said.textContent = select.selectedOptions[0].textContent;
    slider.setAttribute("aria-valuetext", said.textContent);
  };
  slider.value = select.selectedIndex;
  slider.addEventListener("input", () => {
    select.selectedIndex = slider.value;
    say();
  });
  // By the keyboard every step is a change: there the button says when.
  let isDragged = false;
  slider.addEventListener("pointerdown", () => { isDragged = true; });
  slider.addEventListener("keydown", () => { isDragged = false; });
  slider.addEventListener("change", () => { if (isDragged) form.requestSubmit(); });
  slider.setAttribute("aria-label", "Version of the row");
  say();
  select.hidden = true;
  select.after(slider, said);
}

// j and k go through what is listed, enter opens it, / leads to the filter.
const stops = [...document.querySelectorAll(".thread .when")];
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) return;
  const at = stops.indexOf(document.activeElement);
  if (event.key === "j" || event.key === "k") {
    const next = event.key === "j" ? at + 1 : Math.max(at - 1, 0);
    if (stops[next]) {
      stops[next].focus();
      event.preventDefault();
    }
  } else if (event.key === "/") {
    const field = document.querySelector("main form[role=search] input:not([type=hidden], [type=datetime-local])");
    if (field) {
      field.focus();
      event.preventDefault();
    }
  }
});
