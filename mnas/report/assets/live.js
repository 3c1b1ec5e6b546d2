"use strict";
// The live page comes without its run, so that it opens at once: the run is asked for now, and once a second for what is
// new. The server answers 204 if nothing is.
(async () => {
  const { live } = data;
  let version = "";
  byId("state").textContent = "reading the run";
  for (;;) {
    try {
      const answer = await fetch(`/data/${live.run}?version=${encodeURIComponent(version)}`);
      if (answer.status !== 204) {
        const found = await answer.json();
        if (!answer.ok) throw new Error(found.error);
        ({ version } = found);
        data = { ...found.data, live };
        await showAll();
      }
    } catch (error) {
      version = ""; // the next answer draws the page again
      byId("state").textContent = error instanceof TypeError ? "the server does not answer" : error.message;
    }
    do await new Promise((done) => setTimeout(done, 1000)); while (document.hidden);
  }
})();
