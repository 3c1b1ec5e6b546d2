"use strict";
// The live page comes without its runs, so that it opens at once: they are asked for now, and then for what is new. The
// server answers 204 if nothing is. News are in the verdict and in the table of trials at once, and in the charts after
// some seconds: drawing all of them takes many times as long. Either takes a small share of the time, so that a search
// keeps its cores.
const ASK_MS = 1000, CHARTS_MS = 5000, NEWS_SHARE = 0.1, CHARTS_SHARE = 0.03;
(async () => {
  const { runs, names } = data.live, versions = runs.map(() => "");
  let behind = false, chartsDue = 0;
  byId("state").textContent = runs.length > 1 ? "reading the runs" : "reading the run";
  for (;;) {
    let wait = ASK_MS;
    try {
      const answer = await fetch(`/data?${runs.map((run, index) => `run=${run}&version=${versions[index]}`).join("&")}`);
      const isNews = answer.status !== 204, found = isNews ? await answer.json() : null;
      if (!answer.ok) throw new Error(found.error);
      if (isNews) {
        found.runs.forEach((one, index) => {
          if (one === null) return;
          versions[index] = one.version;
          data.runs[index] = { ...one.data, name: names[index] };
        });
        data.differences = found.differences;
        behind = true;
      }
      const began = performance.now(), took = () => performance.now() - began;
      if (behind && began >= chartsDue) {
        await showAll();
        behind = false;
        chartsDue = began + Math.max(CHARTS_MS, took() / CHARTS_SHARE);
      } else if (isNews) showNews();
      wait = Math.max(wait, took() / NEWS_SHARE);
    } catch (error) {
      versions.fill(""); // the next answer draws the page again
      byId("state").textContent = error instanceof TypeError ? "the server does not answer" : error.message;
    }
    do await new Promise((done) => setTimeout(done, wait)); while (document.hidden);
  }
})();
