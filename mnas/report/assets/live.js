"use strict";
// Ask for what is new once a second; the server answers 204 if nothing is.
(async () => {
  const live = data.live;
  for (;;) {
    await new Promise((done) => setTimeout(done, 1000));
    if (document.hidden) continue;
    try {
      const answer = await fetch(`${live.data}?version=${encodeURIComponent(live.version)}`);
      if (answer.status !== 200) continue;
      const found = await answer.json();
      live.version = found.version;
      data = { ...found.data, live };
      await showAll();
    } catch (error) {
      byId("state").textContent = "the server does not answer";
    }
  }
})();
