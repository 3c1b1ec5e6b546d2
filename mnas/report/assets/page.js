"use strict";
let data = JSON.parse(document.getElementById("data").textContent);
let chosenRun = 0, chosenTrial = null, chosenBlock = 0;
const tables = { trials: {}, failures: {} };
const byId = (id) => document.getElementById(id);

function card(title, note, { wide = false } = {}, ...children) {
  return el("section", { class: wide ? "card wide" : "card" }, el("h3", {}, title), note ? el("p", { class: "note" }, note) : null, ...children);
}
function chartCard(parent, title, note, make, options = {}) {
  const holder = card(title, note, options);
  parent.append(holder);
  chartInto(holder, make, { label: title, ...options });
  return holder;
}
function section(title) {
  const grid = el("div", { class: "grid" });
  byId("main").append(el("h2", {}, title), grid);
  return grid;
}
function blocksOf(run, index) {
  return run.trials.block[index].map((number, place) => run.trials.blocks[place][number]);
}
const ended = (run) => run.verdict.counts.complete + run.verdict.counts.stopped + run.verdict.counts.failed;

function tile(label, value, small) {
  return el("div", { class: "tile" }, el("div", { class: "label" }, label), el("div", { class: "value" }, value), el("div", { class: "small" }, small || ""));
}
function showVerdict(run) {
  const { best, counts, of, search_s, children_s, phone_s, reward_images, notes, finalists } = run.verdict, winner = finalists[0];
  byId("name").textContent = run.name;
  const state = ended(run) >= of ? "finished" : counts.proposed ? `${ended(run)} of ${of} trials` : `stopped at ${ended(run)} of ${of}`;
  byId("state").textContent = state;
  byId("notes").replaceChildren(...notes.map((note) => el("li", {}, note)));
  if (!best) {
    byId("sentence").textContent = `No trial is complete yet: ${counts.failed} failed, ${counts.proposed} pending.`;
    byId("tiles").replaceChildren();
    return;
  }
  const meets = best.latency_ms <= run.target_ms;
  const leads = winner ? `Trial ${best.trial} is the best of ${finalists.length} finalists with a probability of ${number(winner.probability_best, 3)}, by trainings with fresh seeds.` : `Trial ${best.trial} is the best of ${count(counts.complete)} complete trials.`;
  const sure = best.near_best === 0 && counts.complete > 1 ? " No other network is within one standard error of its reward." : "";
  const source = best.is_lower_bound ? `at least; ${count(reward_images)} images` : "from networks trained more than once";
  const error = known(best.standard_error) ? `± ${number(best.standard_error)} (1 standard error, ${source})` : "on the reward set";
  byId("sentence").textContent = `${leads} It ${meets ? "meets" : "misses"} the target of ${milliseconds(run.target_ms)} on ${run.phone}.${sure}`;
  byId("tiles").replaceChildren(
    winner ? tile("accuracy", number(winner.accuracy), `mean of ${winner.trainings} fresh trainings; ${number(best.accuracy)} in the search`) : tile("accuracy", number(best.accuracy), error),
    tile(`latency on ${run.phone}`, milliseconds(best.latency_ms), known(best.mad_ms) ? `MAD ${milliseconds(best.mad_ms)}, 90% within ${milliseconds(best.p90_ms)}` : "measured"),
    ...Object.entries(best.other_latencies_ms).map(([name, latency]) => tile(`latency on ${name}`, milliseconds(latency), known(run.others[name]) ? `target ${milliseconds(run.others[name])}` : "")),
    winner ? tile("reward", number(winner.reward), `true reward from ${interval(winner)} (95%); ${number(best.reward)} in the search`) : tile("reward", number(best.reward), `target ${milliseconds(run.target_ms)}, exponents ${run.exponents.join(", ")}`),
    tile("size", count(best.parameters), `parameters; ${count(best.multiply_adds)} multiply-adds`),
    tile("trials", `${count(counts.complete)}`, `complete; ${counts.stopped ? `${count(counts.stopped)} stopped early, ` : ""}${counts.failed} failed, ${counts.proposed} pending, of ${count(of)}`),
    tile("cost so far", duration(search_s), `children ${duration(children_s)}, phones ${duration(phone_s)}`),
  );
}
const interval = (finalist) => finalist.reward_interval.map((value) => number(value)).join(" to ");
function finalistsCard(finalists) {
  return card("Finalists", "The best networks of the search, trained again with fresh seeds. The interval holds the true reward with a probability of 95%.", { wide: true }, el("div", { class: "scroll" }, plainTable(
    ["trial", "best with probability", "mean reward", "true reward, 95%", "mean accuracy", "mean latency", "trainings"],
    finalists.map((one) => [one.trial, number(one.probability_best, 3), number(one.reward), `${number(one.reward_estimate)} (${interval(one)})`, number(one.accuracy), milliseconds(one.latency_ms), one.trainings]),
  )));
}

function showProgress(run) {
  const grid = section("What the search found");
  const pick = (item) => { if (item.value && item.seriesName !== "failed") chooseTrial(run, item.value.length > 2 ? item.value[2] : item.value[0]); };
  chartCard(grid, "Reward of each trial", "Repeats included. A click opens a trial. In every chart, Ctrl and the wheel zoom, and a double click shows all again.", () => rewardChart(run), { onPoint: pick });
  chartCard(grid, "Accuracy against latency", "Each network once. Along a dotted line the reward is equal; up and left is better.", () => tradeOff(run), { onPoint: pick });
  chartCard(grid, "Latencies that the search tried", "Each network once.", () => latencyHistogram(groupsOf([run])));
  if (run.shares.last_trial.length > 1) chartCard(grid, "How decided the controller is", "Mean entropy of the choices in consecutive trials: 1, all choices are equally frequent; 0, one is left.", () => entropyChart(run));
  if (run.verdict.finalists.length) grid.append(finalistsCard(run.verdict.finalists));
}
function showLearning(run) {
  if (run.shares.last_trial.length < 2) return; // one group of trials has no course
  const grid = section("What the controller has learnt");
  const blocks = [...new Set(run.shares.decisions.map((decision) => decision.name.split(".")[0]))];
  chosenBlock = Math.min(chosenBlock, blocks.length - 1);
  const holder = el("div", { class: "three" });
  const choice = el("select", { "aria-label": "block", onchange: (event) => { chosenBlock = event.target.selectedIndex; showAll(); } }, ...blocks.map((block, index) => el("option", { selected: index === chosenBlock }, block.replace("blocks[", "block ").replace("]", ""))));
  grid.append(card("Shares of each choice over time", "In consecutive groups of trials, left to right.", { wide: true }, el("div", { class: "controls" }, choice), holder));
  for (const decision of run.shares.decisions.filter((one) => one.name.startsWith(`${blocks[chosenBlock]}.`))) {
    const box = el("div", {}, el("strong", {}, decision.name.split(".")[1]));
    holder.append(box);
    chartInto(box, () => sharesChart(run.shares, decision), { size: "small", label: decision.name });
  }
  if (run.importances) {
    const of = run.importances.of, told = ["reward", "accuracy", "latency"].map((name) => `${name} ${known(of[name].held_out_r2) ? of[name].held_out_r2.toFixed(2) : "–"}`).join(", ");
    const weak = of.reward.held_out_r2 < 0.3 ? " With so little explained, the order is mostly noise." : "";
    chartCard(grid, "Which decisions matter", `From a ridge regression on the choices of ${run.importances.trials} trials. R² on trials it has not seen: ${told}.${weak}`, () => importanceChart(run.importances), { size: "tall", wide: true });
  }
}
function showTime(run) {
  const grid = section("Where the time went");
  chartCard(grid, "In sum", known(run.times.queue_s) ? "Queue: from proposal to the start of the child. Waiting: the rest until the outcome: for a phone, for other trials." : "Waiting: from proposal to outcome, without the training: for a worker, a phone, a repeat.", () => timeChart(run));
  chartCard(grid, "Workers and phones", "How many children trained at a time, and the share of time in which a phone measured.", () => busyChart(run));
  if (Object.keys(run.phase_s).length) chartCard(grid, "Each trial", "A dot is the time of the phones, which is part of the training or of the waiting.", () => trialTimeChart(run), { wide: true });
}

const FILLS = { light: { conv: "#dfd3f3", sep: "#d3ecd9", mb: "#d3e4f7", wide: "#fbdcd3", plain: "#e4e7eb" }, dark: { conv: "#463a66", sep: "#28513a", mb: "#274767", wide: "#6b3a2c", plain: "#3a444e" } };
function describeBlock(text) {
  const fields = Object.fromEntries(text.split("_").map((word) => /^([a-z]+)([0-9.]*)$/.exec(word)).filter(Boolean).map(([, key, value]) => [key, value]));
  const kind = "conv" in fields ? "Conv" : fields.e === "1" ? "SepConv" : `MBConv${fields.e}`;
  const fill = "conv" in fields ? "conv" : fields.e === "1" ? "sep" : Number(fields.e) < 6 ? "mb" : "wide";
  const extras = [fields.se ? "SE" : "", "pool" in fields ? "pool" : "", "noskip" in fields ? "no skip" : "", fields.s === "22" ? "stride 2" : ""].filter(Boolean);
  return { label: [`${kind} ${fields.k}x${fields.k}`, ...extras].join(", "), repeats: fields.r, filters: fields.o, fill };
}
function networkDiagram(architecture) {
  const rows = [
    { label: "image", fill: "plain", note: "" },
    { label: `Conv 3x3${architecture.stem_stride === 2 ? ", stride 2" : ""}`, fill: "plain", note: `stem, ${architecture.stem_filters}` },
    ...(architecture.blocks || []).map((text) => { const block = describeBlock(String(text)); return { label: block.label, fill: block.fill, note: `${block.repeats > 1 ? `${block.repeats}x, ` : ""}${block.filters} filters` }; }),
    { label: "Conv 1x1, mean", fill: "plain", note: `head, ${architecture.head_filters}` },
    { label: "classifier", fill: "plain", note: "" },
  ];
  const height = 34, gap = 14, total = rows.length * (height + gap);
  const drawing = svg("svg", { class: "network", viewBox: `0 0 340 ${total}`, role: "img", "aria-label": "the network, from the image down" });
  rows.forEach((row, index) => {
    const y = index * (height + gap);
    if (index) drawing.append(svg("path", { class: "edge", d: `M110 ${y - gap}V${y - 1}M106 ${y - 6}L110 ${y - 1}L114 ${y - 6}` }));
    drawing.append(svg("rect", { x: 2, y, width: 216, height, rx: 7, fill: FILLS[theme()][row.fill] }));
    drawing.append(svg("text", { x: 110, y: y + 21, "text-anchor": "middle" }, row.label));
    drawing.append(svg("text", { x: 228, y: y + 21, class: "pale" }, row.note));
  });
  return drawing;
}
async function detailsOf(run, id) {
  if (run.details[id]) return run.details[id];
  if (!data.live) return null;
  const answer = await fetch(`/trials/${id}/${data.live.runs[data.runs.indexOf(run)]}`);
  if (!answer.ok) return null;
  run.details[id] = await answer.json();
  return run.details[id];
}
async function chooseTrial(run, id) {
  if (!run.trials.id.includes(id)) return;
  chosenTrial = id;
  const detail = await detailsOf(run, id);
  if (chosenTrial !== id || data.runs[chosenRun] !== run) return; // meanwhile another was chosen, or the page was drawn again
  showTrial(run, id, detail);
  forgetRemovedCharts();
  byId("trial").scrollIntoView({ block: "start" });
}
function showTrial(run, id, detail) {
  const index = run.trials.id.indexOf(id), place = byId("trial"), t = run.trials;
  const facts = [["state", t.state[index]], ["accuracy", number(t.accuracy[index])], [`latency on ${run.phone}`, milliseconds(t.latency_ms[index])], ...Object.entries(run.other_latencies_ms).map(([name, values]) => [`latency on ${name}`, milliseconds(values[index])]), ["reward", number(t.reward[index])], ["from proposal to outcome", duration(t.duration_s[index])], ["training", duration(t.training_s[index])]];
  if (detail) for (const [key, value] of Object.entries(detail.training)) facts.push([key.replaceAll("_", " ").replace(/ mb$/, " (MB)").replace(/ per s$/, " a second"), plain(value)]);
  if (detail) for (const rung of detail.rungs) facts.push([`accuracy after epoch ${rung.epoch}`, known(rung.least_accuracy) ? `${number(rung.accuracy)}; ${number(rung.least_accuracy)} to go on` : number(rung.accuracy)]);
  if (known(t.repeat_of[index])) facts.push(["the same network as trial", t.repeat_of[index]]);
  const failure = run.failures.find((one) => one.trial === id) || run.failures.find((one) => one.trial === t.repeat_of[index]);
  if (failure) facts.push([failure.kind, failure.message]);
  const left = el("div", {}, networkDiagram(detail ? detail.architecture : { blocks: blocksOf(run, index), stem_filters: "–", head_filters: "–" }));
  const right = el("div", {}, plainTable([], facts), el("p", {}, ...blocksOf(run, index).flatMap((block) => [el("code", {}, block), el("br")])));
  place.replaceChildren(el("h3", {}, `Trial ${id}`), el("div", { class: "detail" }, left, right));
  if (detail) {
    if (detail.epoch_losses.length > 1) { right.append(el("strong", {}, "Learning curve")); chartInto(right, () => learningCurve(detail.epoch_losses), { size: "small", label: "learning curve", key: `learning curve ${id}` }); }
    for (const phone of detail.phones) {
      right.append(el("strong", {}, `Raw runs on ${phone.name}`), ...phone.rejected.map((window) => el("p", { class: "note failed" }, `rejected: ${window.reason}`)));
      chartInto(right, () => windowsChart(phone), { size: "small", label: `raw runs on ${phone.name}`, key: `raw runs on ${phone.name} ${id}` });
    }
  } else right.append(el("p", { class: "note" }, `The raw runs of the best, the Pareto-optimal and the last trials are in this file; those of the others are in the run: mnas show ${run.directory} --json`));
}
function trialsTable(run) {
  const t = run.trials;
  const rows = t.id.map((id, index) => index), front = new Set(run.pareto);
  const failed = new Map(run.failures.map((failure) => [failure.trial, failure]));
  const text = (index) => {
    const failure = failed.get(t.id[index]);
    return failure ? `${failure.kind}: ${failure.message}` : known(t.repeat_of[index]) ? `the same network as trial ${t.repeat_of[index]}` : blocksOf(run, index).join(" ");
  };
  const column = (title, key, digits) => ({ title, number: true, value: (index) => t[key][index], show: (index) => (digits == null ? t[key][index] ?? "–" : number(t[key][index], digits)) });
  const columns = [
    column("trial", "id"),
    { title: "state", value: (index) => t.state[index], show: (index) => el("span", { class: t.state[index] }, t.state[index]) },
    column("accuracy", "accuracy", 4), column("latency (ms)", "latency_ms", 4),
    ...Object.entries(run.other_latencies_ms).map(([name, values]) => ({ title: `${name} (ms)`, number: true, value: (index) => values[index], show: (index) => number(values[index]) })),
    column("reward", "reward", 4), column("seconds", "duration_s", 1),
    { title: "network", class: "text", value: text, show: (index) => el("code", {}, text(index)) },
  ];
  const table = sortableTable(columns, rows, tables.trials, {
    filterText: (index) => `${t.id[index]} ${t.state[index]} ${text(index)}`.toLowerCase(), onRow: (index) => chooseTrial(run, t.id[index]),
    sortBy: "reward", descending: true, pageSize: 20, hint: "filter, such as k5 or failed",
    filters: [{ title: "all trials", keep: () => true }, { title: "Pareto front", keep: (index) => front.has(t.id[index]) }, { title: "complete", keep: (index) => t.state[index] === "complete" }, { title: "failed", keep: (index) => t.state[index] === "failed" }, { title: "stopped early", keep: (index) => t.state[index] === "stopped" }, { title: "pending", keep: (index) => t.state[index] === "proposed" }],
  });
  table.id = "trials";
  return table;
}
function showTable(run, id, detail) {
  const grid = section("Trials"), place = el("section", { class: "card wide", id: "trial" });
  grid.append(card("All trials", "A click on a column sorts; a click on a row shows the trial below.", { wide: true }, trialsTable(run)), place);
  if (id === undefined) place.remove(); else showTrial(run, id, detail);
}
const trialToShow = (run) => (chosenTrial !== null && run.trials.id.includes(chosenTrial) ? chosenTrial : run.verdict.best ? run.verdict.best.trial : run.trials.id[0]);
function showFailures(run) {
  if (!run.failures.length) return;
  const grid = section("Failures"), kinds = new Map();
  for (const failure of run.failures) kinds.set(failure.kind, (kinds.get(failure.kind) || 0) + 1);
  const ordered = [...kinds.entries()].sort((a, b) => a[1] - b[1]);
  chartCard(grid, "By kind", null, () => ({
    legend: false, grid: { left: 130, right: 40, top: 8, bottom: 40 }, xAxis: { type: "value", name: "trials", minInterval: 1 }, yAxis: { type: "category", data: ordered.map((one) => one[0]), splitLine: { show: false } },
    series: [{ type: "bar", data: ordered.map((one) => one[1]), itemStyle: { color: css("--bad") }, label: { show: true, position: "right", color: css("--pale") } }],
  }), { size: "small" });
  grid.append(card("Texts", null, {}, sortableTable([
    { title: "trial", number: true, value: (row) => row.trial, show: (row) => row.trial },
    { title: "kind", value: (row) => row.kind, show: (row) => row.kind },
    { title: "message", class: "text", value: (row) => row.message, show: (row) => row.message },
  ], run.failures, tables.failures, { filterText: (row) => `${row.trial} ${row.kind} ${row.message}`.toLowerCase(), pageSize: 8 })));
}
function showPhones(run) {
  if (!run.phones.length) return;
  const grid = section("Phones");
  for (const phone of run.phones) {
    const id = phone.identity, rejected = phone.rejected.reduce((sum, one) => sum + one.count, 0);
    const holder = card(phone.name, `${[id.fingerprint, id.engine && `${id.engine} ${id.engine_version}`, phone.serial].filter(Boolean).join("; ")}. ${count(phone.measured)} measurements, ${count(phone.windows)} windows, ${rejected} of them rejected.`, { wide: true });
    grid.append(holder);
    const charts = el("div", { class: "three" });
    holder.append(charts);
    for (const [key, title, factor] of [["drift", "reference network slower by (%)", 100], ["relative_mad", "MAD of the runs / median (%)", 100], ["temperature_c", "temperature (°C)", 1], ["frequency_khz", "clock (MHz)", 0.001], ["battery_c", "battery (°C)", 1], ["battery_percent", "battery charge (%)", 1]]) {
      if (!phone.measurements[key].some(known)) continue;
      const box = el("div", {}, el("strong", {}, title));
      charts.append(box);
      chartInto(box, () => phoneChart(phone, key, title, factor), { size: "small", label: `${phone.name}: ${title}`, key: `${phone.name} ${phone.serial}: ${title}` });
    }
    if (phone.rejected.length) holder.append(plainTable(["windows", "rejected because"], phone.rejected.map((one) => [count(one.count), one.reason])));
  }
}
function showComparison(run) {
  if (data.runs.length < 2) return;
  const grid = section("Runs compared"), alike = data.runs.filter((one) => one.phone === run.phone && one.num_classes === run.num_classes);
  const rewards = data.differences.some((one) => /^(reward|latency\.(target_ms|phone|others|reward_from))\b/.test(one.key)) ? "These runs do not have the same reward: compare their accuracies and latencies. " : "";
  if (alike.length > 1) {
    chartCard(grid, "Accuracy against latency of the runs", "Each network once; runs with the phone and the number of classes of the chosen run.", () => tradeOffs(groupsOf(alike)));
    chartCard(grid, "Latencies that the runs tried", "Each network once; the same runs.", () => latencyHistogram(groupsOf(alike)));
  }
  const holder = el("div", { class: "three" });
  grid.append(card("Best reward so far", `${rewards}Runs of one experiment with several seeds: the median, and a band from the worst to the best. Hours are those since the first proposal; the time between two sessions of a search counts, too.`, { wide: true }, holder));
  for (const along of ["trials", "child-epochs", "hours"]) {
    const box = el("div", {}, el("strong", {}, `against ${along}`));
    holder.append(box);
    chartInto(box, () => comparison(data.runs, along), { label: `best reward against ${along}` });
  }
  const best = (show) => data.runs.map((one) => (one.verdict.best ? show(one.verdict.best) : "–"));
  grid.append(card("What differs", `${rewards}${data.differences.length ? "Settings that are not the same in all runs." : "The experiments are the same."}`, { wide: true }, el("div", { class: "scroll" }, plainTable(
    ["", ...data.runs.map((one) => one.name)],
    [
      ["complete trials", ...data.runs.map((one) => count(one.verdict.counts.complete))],
      ["best reward", ...best((one) => number(one.reward))],
      ["its accuracy", ...best((one) => `${number(one.accuracy)}${known(one.standard_error) ? ` ± ${number(one.standard_error)}` : ""}`)],
      ["its latency", ...best((one) => milliseconds(one.latency_ms))],
      ["its multiply-adds", ...best((one) => count(one.multiply_adds))],
      ...data.differences.map((one) => [one.key, ...one.values]),
    ],
  ))));
}
function showSettings(run) {
  const grid = section("Experiment"), rows = [];
  const walk = (value, path) => { if (value !== null && typeof value === "object" && !Array.isArray(value)) Object.entries(value).forEach(([key, item]) => walk(item, path ? `${path}.${key}` : key)); else rows.push([path, Array.isArray(value) ? value.join(", ") : value === null ? "–" : String(value)]); };
  walk(run.experiment, "");
  if (run.classes.length) rows.push(["classes", run.classes.join(", ")]);
  grid.append(card("Settings", null, { wide: true }, el("details", {}, el("summary", {}, `${rows.length} values`), plainTable([], rows))));
}

const all = (selector) => [...document.querySelectorAll(selector)];
// Draw something, and keep what the reader has chosen: focus, scrolling, opened parts; charts and tables keep their own.
function redraw(draw) {
  const y = window.scrollY, active = document.activeElement, focusable = "input, select, button, [tabindex]";
  const place = all(focusable).indexOf(active), caret = active.selectionStart;
  const opened = all("details").map((one) => one.open), scrolled = all(".scroll").map((one) => one.scrollLeft);
  draw();
  all("details").forEach((one, index) => { one.open = opened[index] || false; });
  all(".scroll").forEach((one, index) => { one.scrollLeft = scrolled[index] || 0; });
  const again = all(focusable)[place];
  if (again) again.focus({ preventScroll: true });
  if (again && known(again.selectionStart)) again.setSelectionRange(caret, caret);
  window.scrollTo(0, y);
  document.body.dataset.ready = "yes";
}
async function showAll() {
  const run = data.runs[chosenRun];
  if (!run) return; // the live page gets its run later
  delete document.body.dataset.ready;
  const trial = trialToShow(run), detail = trial === undefined ? null : await detailsOf(run, trial);
  if (data.runs[chosenRun] !== run) return; // meanwhile it was drawn with other data
  redraw(() => {
    byId("main").replaceChildren();
    byId("chooser").hidden = data.runs.length < 2;
    byId("run").replaceChildren(...data.runs.map((one, index) => el("option", { selected: index === chosenRun }, one.name)));
    document.title = `${run.name}: search report`;
    showVerdict(run);
    showProgress(run);
    showComparison(run);
    showLearning(run);
    showTime(run);
    showTable(run, trial, detail);
    showFailures(run);
    showPhones(run);
    showSettings(run);
    forgetRemovedCharts();
    byId("footer").textContent = `Made by mnas ${data.mnas_version} from ${run.directory}. Times of day are UTC in the store and local here.`;
  });
}
// Only what costs little: the verdict and the table of trials.
function showNews() {
  const run = data.runs[chosenRun];
  redraw(() => { showVerdict(run); byId("trials").replaceWith(trialsTable(run)); });
}
byId("run").addEventListener("change", (event) => { chosenRun = event.target.selectedIndex; chosenTrial = null; forgetCharts(); showAll(); });
byId("theme").addEventListener("click", () => { document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark"; showAll(); });
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
showAll();
