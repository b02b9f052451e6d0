// What the pages do better with a script; everything works without it.
"use strict";

// Copy buttons: hidden until there is something that can copy.
const offerCopies = (place) => {
  for (const button of place.querySelectorAll("button[data-copy]")) {
    if (!navigator.clipboard) break;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const label = button.textContent;
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = label; }, 1500);
    });
  }
};
offerCopies(document);

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
    const field = document.querySelector("main form[role=search] input:not([type=hidden])");
    if (field) {
      field.focus();
      event.preventDefault();
    }
  }
});

// What is being made is looked at again until it is made; not while somebody is about to press something there.
for (const place of document.querySelectorAll("[data-again]")) {
  const look = async () => {
    let goesOn = true;
    if (!document.hidden && !place.contains(document.activeElement)) {
      try {
        const answer = await fetch(place.dataset.again);
        if (answer.ok && !answer.redirected) {
          place.innerHTML = await answer.text();
          offerCopies(place);
          goesOn = place.querySelector(".job.preparing") !== null;
        }
      } catch {
        // What was seen last stays until it can be seen again.
      }
    }
    if (goesOn) setTimeout(look, 5000);
  };
  setTimeout(look, 5000);
}
