// Draws the figures again when the server says that they changed. Pages work without it.
"use strict";
(() => {
  const here = document.querySelector(".top [aria-current]");
  const places = here && here.closest("ul");
  if (places) places.scrollLeft = here.offsetLeft - places.offsetLeft - (places.clientWidth - here.offsetWidth) / 2; // on a phone

  const main = document.getElementById("main");
  if (!main || !main.dataset.watches || !window.EventSource) return;
  let isBusy = false;
  let isStale = false;

  const draw = async () => {
    if (isBusy || document.hidden) {
      isStale = true;
      return;
    }
    isBusy = true;
    isStale = false;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (!answer.ok || answer.redirected) return;
      const drawn = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
      const scrolled = [...main.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
      const links = [...main.querySelectorAll("a, [tabindex='0']")];
      const focused = links.indexOf(document.activeElement);
      main.replaceChildren(...drawn.childNodes);
      main.querySelectorAll(".scroll").forEach((each, place) => { each.scrollLeft = scrolled[place] || 0; });
      if (focused >= 0) main.querySelectorAll("a, [tabindex='0']")[focused]?.focus({ preventScroll: true });
      document.getElementById("live").textContent = `Live; drawn at ${new Date().toISOString().slice(11, 19)}.`;
    } catch {
      // The server is away; the stream asks again, and so does this.
    } finally {
      isBusy = false;
    }
  };

  const source = new EventSource(`/dashboard/events?watches=${main.dataset.watches}`);
  source.addEventListener("changed", draw);
  source.addEventListener("open", () => { document.getElementById("live").textContent = "Live."; });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && isStale) draw(); });
  addEventListener("pagehide", () => source.close());
})();
