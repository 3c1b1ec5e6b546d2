"use strict";
// The live page comes without its runs, so that it opens at once: they are asked for now, and then for what is new. The
// server answers 204 if nothing is. Drawing takes at most a tenth of the time, so that a search keeps its cores.
(async () => {
  const { runs, names } = data.live, versions = runs.map(() => "");
  byId("state").textContent = runs.length > 1 ? "reading the runs" : "reading the run";
  for (;;) {
    let wait = 1000;
    try {
      const answer = await fetch(`/data?${runs.map((run, index) => `run=${run}&version=${versions[index]}`).join("&")}`);
      if (answer.status !== 204) {
        const found = await answer.json();
        if (!answer.ok) throw new Error(found.error);
        const began = performance.now();
        found.runs.forEach((one, index) => {
          if (one === null) return;
          versions[index] = one.version;
          data.runs[index] = { ...one.data, name: names[index] };
        });
        data.differences = found.differences;
        await showAll();
        wait = Math.max(wait, 9 * (performance.now() - began));
      }
    } catch (error) {
      versions.fill(""); // the next answer draws the page again
      byId("state").textContent = error instanceof TypeError ? "the server does not answer" : error.message;
    }
    do await new Promise((done) => setTimeout(done, wait)); while (document.hidden);
  }
})();
