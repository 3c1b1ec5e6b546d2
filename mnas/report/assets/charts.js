"use strict";
// Okabe and Ito's colours, which most people with colour blindness tell apart; chosen for light and for dark ground.
const PALETTE = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7b5ea7", "#5b6b7a"],
  dark: ["#56b4e9", "#f08a4b", "#3fc79a", "#e39ac4", "#e6c24a", "#8fd0f5", "#b39ddb", "#94a3b3"],
};
const theme = () => (document.documentElement.dataset.theme === "dark" ? "dark" : "light");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (index) => PALETTE[theme()][index % 8];

// The charts of the page by their keys. When the page is drawn again, a chart gets new data and keeps what its reader has
// chosen: the zoom and what the legend hides. One that nobody sees waits until it is scrolled into view; a report draws
// all of its charts once at the start.
const drawn = new Map();

function forgetCharts(which = () => true) {
  for (const [key, shown] of drawn) {
    if (!which(shown)) continue;
    shown.resized.disconnect(); shown.seen.disconnect(); shown.chart?.dispose();
    drawn.delete(key);
  }
}
const forgetRemovedCharts = () => forgetCharts(({ place }) => !place.isConnected);
function newChart() {
  const place = el("div", { role: "img" });
  const shown = { place, chart: null, visible: !data.live, stale: null, zoomed: false, selected: undefined };
  shown.resized = new ResizeObserver(() => {
    if (!shown.chart || shown.chart.getWidth() === place.clientWidth) return;
    shown.chart.resize();
    shown.stale ??= shown.make; // its legend may take other lines now
    if (shown.visible) drawStale(shown);
  });
  shown.seen = new IntersectionObserver((changes) => { shown.visible = changes.at(-1).isIntersecting; if (shown.visible) drawStale(shown); }, { rootMargin: "200px" });
  shown.resized.observe(place);
  shown.seen.observe(place);
  return shown;
}
function startChart(shown) {
  const chart = echarts.init(shown.place, null, { renderer: "canvas" });
  chart.on("click", (item) => shown.onPoint && shown.onPoint(item));
  chart.on("datazoom", () => { shown.zoomed = true; });
  chart.on("legendselectchanged", ({ selected }) => { shown.selected = selected; });
  chart.getZr().on("dblclick", () => chart.dispatchAction({ type: "dataZoom", start: 0, end: 100 }));
  return chart;
}
function drawStale(shown) {
  if (!shown.stale) return;
  shown.make = shown.stale;
  shown.stale = null;
  shown.chart ??= startChart(shown);
  setOptions(shown, shown.make());
}
// Draw `make()` (options of ECharts) into the chart of a key, which is its label unless `key` is given.
function chartInto(parent, make, { size = "", label, key = label, onPoint } = {}) {
  const shown = drawn.get(key) || newChart();
  shown.place.className = `chart ${size}`;
  shown.place.setAttribute("aria-label", label);
  parent.append(shown.place);
  shown.onPoint = onPoint;
  shown.stale = make;
  drawn.set(key, shown);
  if (shown.visible) drawStale(shown);
}
window.addEventListener("beforeprint", () => drawn.forEach(drawStale));
// What is seen of each axis, in its own units: a share of the axis would be another part of it when trials have come.
function zoomOf({ chart, zoomed }) {
  return zoomed ? chart.getOption().dataZoom.map(({ start, end, startValue, endValue }) => (start > 0 || end < 100 ? { startValue, endValue } : {})) : [];
}
// What stands for a series in the legend, if the library's own picture of it is not what is drawn.
function legendIcon({ type, showSymbol, stack, symbol, lineStyle = {} }) {
  if (symbol === "diamond") return "path://M5,0L10,5L5,10L0,5z";
  if (symbol === "triangle") return "path://M5,0L10,10H0z";
  if (type !== "line" || showSymbol !== false) return undefined;
  if (stack) return "roundRect";
  if (lineStyle.type === "dashed") return "path://M0,0h6v2h-6zM10,0h6v2h-6z";
  if (lineStyle.type === "dotted") return "path://M0,0h2v2h-2zM5,0h2v2h-2zM10,0h2v2h-2zM15,0h2v2h-2z";
  return "path://M0,0h16v2h-16z";
}
// The legend of a chart and how high it is (px): as many lines as its names need, or one that can be turned over.
const LEGEND = { line: 18, icon: 16, gap: 10, mostLines: 4 };
function legendOf(series, width) {
  const items = [...new Map(series.filter(({ inLegend }) => inLegend !== false).map((one) => [one.name, { name: one.name, icon: legendIcon(one) }])).values()];
  let lines = 1, used = 0;
  for (const { name } of items) {
    const own = LEGEND.icon + 5 + echarts.format.getTextRect(name, "12px system-ui, Arial, sans-serif").width;
    if (used && used + own > width - 12) { lines += 1; used = 0; }
    used += own + LEGEND.gap;
  }
  const fits = lines <= LEGEND.mostLines;
  return {
    height: (fits ? lines : 1) * LEGEND.line,
    legend: { textStyle: { color: css("--ink") }, pageTextStyle: { color: css("--ink") }, data: items, type: fits ? "plain" : "scroll", top: 0, left: 0, padding: [4, 5], itemHeight: 11, itemWidth: LEGEND.icon, itemGap: LEGEND.gap },
  };
}
// Tooltips are drawn as text, never as HTML.
function setOptions(shown, options) {
  const frame = { lineStyle: { color: css("--line") } };
  const axis = (given) => ({
    nameLocation: "middle", nameGap: 30, nameTextStyle: { color: css("--pale") }, axisLine: frame, splitLine: frame, ...given,
    axisLabel: { color: css("--pale"), hideOverlap: true, ...given.axisLabel },
  });
  // All points at once, and thousands as one shape: the library would draw them over many frames, each for itself.
  for (const series of options.series) Object.assign(series, { progressive: 0, large: true, largeThreshold: 1000 });
  for (const side of ["xAxis", "yAxis"]) if (options[side]) options[side] = [].concat(options[side]).map(axis);
  const zoom = zoomOf(shown), { legend, height } = options.legend === false ? { height: 0 } : legendOf(options.series, shown.place.clientWidth);
  const room = { left: 58, right: 18, top: 16, bottom: 44, ...options.grid };
  shown.chart.setOption({
    animation: false, color: PALETTE[theme()], textStyle: { fontFamily: "system-ui, Arial, sans-serif", color: css("--ink") },
    aria: { enabled: false },
    ...options,
    grid: { ...room, top: room.top + height },
    dataZoom: (options.dataZoom || [zoomAlong("x")]).map((one, index) => ({ ...one, ...zoom[index] })),
    legend: legend && { ...legend, selected: shown.selected },
    tooltip: { renderMode: "richText", confine: true, backgroundColor: css("--card"), borderColor: css("--line"), textStyle: { color: css("--ink"), fontSize: 12 }, ...options.tooltip },
  }, { notMerge: true });
  shown.place.dataset.items = options.series.reduce((sum, series) => sum + (series.data || []).length, 0);
}
// The limits of a value axis, at ticks: a limit between two ticks gets a label of its own, which overlaps the next one.
// The step is 1, 2 or 5 times a power of 10, for about five intervals; an accuracy of 1 is at a tick of each.
function roundLimits(low, high) {
  const rough = (high - low || Math.abs(high) || 1) / 5, power = 10 ** Math.floor(Math.log10(rough)), share = rough / power;
  const interval = (share < 1.5 ? 1 : share < 3.5 ? 2 : share < 7.5 ? 5 : 10) * power;
  const digits = Math.max(0, -Math.floor(Math.log10(interval) + 1e-9));
  const tick = (value) => +value.toFixed(digits);
  return { min: tick(Math.floor(low / interval + 1e-9) * interval), max: tick(Math.ceil(high / interval - 1e-9) * interval), interval, digits };
}
// A value axis from `low` to `high` whose limits are at ticks and whose labels have equally many digits.
function roundAxis(name, low, high) {
  const { digits, ...limits } = low <= high ? roundLimits(low, high) : roundLimits(0, 1);
  return { type: "value", name, nameGap: 46, ...limits, axisLabel: { formatter: (value) => value.toFixed(digits) } };
}
const zoomAlong = (side) => ({ type: "inside", [`${side}AxisIndex`]: 0, zoomOnMouseWheel: "ctrl", preventDefaultMouseMove: false, filterMode: "none" });
// Labelled places of a logarithmic axis: over a short range as on a linear axis, else 1, 2, 3, 5 and 7 times the powers of 10.
function logTicks(low, high) {
  if (high < 5 * low) {
    const { min, max, interval, digits } = roundLimits(low, high);
    return Array.from({ length: Math.round((max - min) / interval) + 1 }, (_, step) => +(min + step * interval).toFixed(digits));
  }
  const powers = Array.from({ length: 2 + Math.ceil(Math.log10(high / low)) }, (_, step) => 10 ** (Math.floor(Math.log10(low)) + step));
  return powers.flatMap((power) => [1, 2, 3, 5, 7].map((share) => +(share * power).toPrecision(1)));
}

function rewardChart(run) {
  const t = run.trials, points = [], best = [], middles = [], failed = [], stopped = [], recent = [];
  let top = -Infinity;
  t.id.forEach((id, index) => {
    const value = t.reward[index];
    if (t.state[index] === "failed" && !known(t.repeat_of[index])) failed.push([id, 0]);
    if (!known(value)) return;
    if (t.state[index] === "stopped") { stopped.push([id, value]); return; }
    points.push([id, value]);
    if (value > top) { top = value; }
    best.push([id, top]);
    recent.push(value);
    if (recent.length > 25) recent.shift();
    if (recent.length >= 5) middles.push([id, median(recent)]);
  });
  const [low, high] = points.length ? spread([...points, ...stopped].map((point) => point[1])) : [0, 1];
  const pad = (high - low || 1) * 0.06, axis = roundAxis("reward", Math.max(0, low - pad), high + pad);
  const failures = failed.map(([id]) => [id, axis.min]);
  return {
    xAxis: { type: "value", name: "trial", min: 0, max: Math.max(1, t.id.length), minInterval: 1 },
    yAxis: axis,
    tooltip: { formatter: (item) => `${item.seriesName}\ntrial ${item.value[0]}${item.seriesName === "failed" ? "" : `: ${number(item.value[1])}`}` },
    series: [
      { name: "trial", type: "scatter", data: points, symbolSize: points.length > 1500 ? 3 : 6, itemStyle: { opacity: points.length > 1500 ? 0.35 : 0.65, color: colour(5) } },
      ...(stopped.length ? [{ name: "stopped early", type: "scatter", data: stopped, symbolSize: 3, itemStyle: { opacity: 0.5, color: css("--pale") } }] : []),
      { name: "median of 25", type: "line", data: middles, showSymbol: false, lineStyle: { width: 2, color: colour(1) }, itemStyle: { color: colour(1) }, sampling: "lttb" },
      { name: "best so far", type: "line", step: "end", data: best, showSymbol: false, lineStyle: { width: 2.5, color: colour(2) }, itemStyle: { color: colour(2) } },
      ...(failures.length ? [{ name: "failed", type: "scatter", symbol: "path://M0,0L3,3M3,0L0,3", data: failures, symbolSize: failures.length > 200 ? 4 : 7, itemStyle: { color: "transparent", borderColor: css("--bad"), borderWidth: failures.length > 200 ? 0.5 : 1.5 } }] : []),
    ],
  };
}

function complete(run) {
  const t = run.trials;
  return t.id.map((id, index) => index).filter((index) => t.state[index] === "complete" && !known(t.repeat_of[index]));
}
function contour(level, [alpha, beta], target, [from, to]) {
  const points = [];
  for (let step = 0; step <= 60; step += 1) {
    const latency = from * (to / from) ** (step / 60);
    points.push([latency, level * (latency / target) ** -(latency <= target ? alpha : beta)]);
  }
  return points;
}
function latencyAxis(run, [from, to]) {
  const ticks = logTicks(from, to).filter((tick) => tick > from && tick < to);
  return { type: "log", name: `latency on ${run.phone} (ms, logarithmic)`, min: from, max: to, axisTick: { customValues: ticks }, axisLabel: { customValues: ticks, formatter: (value) => String(+value.toPrecision(3)) } };
}
function tradeOff(run) {
  const t = run.trials, best = run.verdict.best, front = new Set(run.pareto);
  const points = complete(run).map((index) => [t.latency_ms[index], t.accuracy[index], t.id[index], t.reward[index]]);
  const references = data.references.filter((one) => one.phone === run.phone && one.num_classes === run.num_classes).map((one) => ({ value: [one.latency_ms, one.accuracy], one }));
  const shown = [...points, ...references.map((reference) => reference.value)];
  const [low, high] = shown.length ? spread(shown.map((point) => point[1])) : [0, 1];
  const [fast, slow] = shown.length ? spread(shown.map((point) => point[0])) : [run.target_ms / 2, run.target_ms * 2];
  const reach = [Math.min(fast, run.target_ms) * 0.93, Math.max(slow, run.target_ms) * 1.07], pad = (high - low || 0.1) * 0.08;
  const axis = roundAxis("accuracy on the reward set", Math.max(0, low - pad), Math.min(1, high + pad));
  const levels = best ? [1, 0.97, 0.94, 0.91].map((share) => share * best.reward) : [];
  const told = ({ value, data: { one } }) => (one ? `${one.network}, ${one.image_size} pixels\naccuracy ${number(value[1])}, ${one.on} set${known(one.images) ? ` of ${count(one.images)} images` : ""}\nlatency ${milliseconds(value[0])}` : `trial ${value[2]}\naccuracy ${number(value[1])}\nlatency ${milliseconds(value[0])}\nreward ${number(value[3])}`);
  return {
    xAxis: latencyAxis(run, reach),
    yAxis: axis,
    dataZoom: [zoomAlong("x"), zoomAlong("y")],
    tooltip: { formatter: told },
    series: [
      ...levels.map((level) => ({ name: "equal reward", type: "line", silent: true, showSymbol: false, data: contour(level, run.exponents, run.target_ms, reach), lineStyle: { width: 1, type: "dotted", color: css("--pale"), opacity: 0.75 }, itemStyle: { color: css("--pale") }, z: 1 })),
      { name: "trial", type: "scatter", data: points, symbolSize: points.length > 1500 ? 3.5 : 7, itemStyle: { opacity: points.length > 1500 ? 0.4 : 0.7, color: colour(5) } },
      { name: "Pareto front", type: "line", data: points.filter((point) => front.has(point[2])).sort((a, b) => a[0] - b[0]), symbol: "circle", symbolSize: 7, lineStyle: { width: 2, color: colour(1) }, itemStyle: { color: colour(1) }, z: 4 },
      ...(best ? [{ name: "best", type: "scatter", symbol: "diamond", symbolSize: 16, data: [[best.latency_ms, best.accuracy, best.trial, best.reward]], itemStyle: { color: colour(2), borderColor: css("--card"), borderWidth: 1.5 }, z: 5 }] : []),
      ...(references.length ? [{ name: "reference", type: "scatter", symbol: "rect", symbolSize: 9, data: references, itemStyle: { color: colour(3) }, label: { show: true, position: "top", color: css("--ink"), fontSize: 11, formatter: (item) => item.data.one.network }, labelLayout: { hideOverlap: true }, z: 6 }] : []),
      { name: "target", type: "line", data: [[run.target_ms, axis.min], [run.target_ms, axis.max]], showSymbol: false, silent: true, lineStyle: { type: "dashed", color: css("--bad"), width: 1.5 }, itemStyle: { color: css("--bad") } },
    ],
  };
}

// The networks of each group of runs, in the same classes of latency, and the targets.
function latencyHistogram(groups) {
  const latencies = groups.map(({ members }) => members.flatMap((run) => complete(run).map((index) => run.trials.latency_ms[index])));
  const values = latencies.flat(), most = Math.max(...latencies.map((own) => own.length)), [low, high] = values.length ? spread(values) : [0, 1];
  const bins = Math.max(6, Math.min(50, Math.ceil(Math.sqrt(most) * 1.6))), width = (high - low || high || 1) / bins;
  const targets = [...new Set(groups.flatMap(({ members }) => members.map((run) => run.target_ms)))], [{ phone }] = groups[0].members;
  const steps = (own) => {
    const counts = new Array(bins).fill(0);
    for (const value of own) counts[Math.min(bins - 1, Math.floor((value - low) / width))] += 1;
    return [[low, 0], ...counts.map((total, index) => [low + index * width, total]), [low + bins * width, 0]].slice(own.length ? 1 : 0);
  };
  const several = groups.length > 1, [first, last] = spread([low, high, ...targets]), pad = (last - first || last) * 0.06;
  return {
    legend: several, grid: { top: 28 },
    xAxis: { type: "value", name: `latency on ${phone} (ms)`, min: Math.max(0, first - pad), max: last + pad, axisLabel: { formatter: (value) => String(+value.toPrecision(3)), showMinLabel: false, showMaxLabel: false }, splitLine: { show: false } },
    yAxis: { type: "value", name: "networks", nameGap: 40, minInterval: 1 },
    tooltip: { trigger: "axis", formatter: (items) => (items[0].dataIndex < bins ? `${number(items[0].value[0])} to ${number(items[0].value[0] + width)} ms\n${items.map((item) => `${several ? `${item.seriesName}: ` : ""}${item.value[1]} networks`).join("\n")}` : "") },
    series: groups.map(({ name }, index) => ({ name: several ? name : "networks", type: "line", step: "end", data: steps(latencies[index]), showSymbol: false, areaStyle: { opacity: several ? 0.2 : 0.45 }, lineStyle: { width: several ? 2 : 1.5 }, itemStyle: { color: colour(index) }, markLine: index ? undefined : { symbol: "none", silent: true, label: { formatter: "target", color: css("--bad") }, lineStyle: { color: css("--bad"), type: "dashed" }, data: targets.map((target) => ({ xAxis: target })) } })),
  };
}

function entropyChart(run) {
  return {
    legend: false,
    xAxis: { type: "value", name: "trial", min: 0 }, yAxis: { ...roundAxis("entropy of the choices", 0, 1), nameGap: 40 },
    tooltip: { formatter: (item) => `up to trial ${item.value[0]}\nentropy ${number(item.value[1], 3)}` },
    series: [{ name: "entropy", type: "line", data: run.shares.last_trial.map((id, index) => [id, run.shares.entropy[index]]), symbol: "circle", symbolSize: 5, areaStyle: { opacity: 0.12 } }],
  };
}
function sharesChart(shares, decision) {
  return {
    grid: { left: 42, right: 10, top: 12, bottom: 40 },
    xAxis: { type: "value", name: "trial", nameGap: 24, min: shares.last_trial[0], max: shares.last_trial[shares.last_trial.length - 1] },
    yAxis: { type: "value", min: 0, max: 1, interval: 0.5, axisLabel: { formatter: (value) => `${Math.round(value * 100)}%` } },
    tooltip: { trigger: "axis", valueFormatter: (value) => `${(100 * value).toFixed(0)}%` },
    series: decision.choices.map((choice, index) => ({
      name: choice, type: "line", stack: "all", showSymbol: false, areaStyle: { opacity: 0.75 }, lineStyle: { width: 0.5 },
      data: shares.last_trial.map((id, group) => [id, decision.shares[index][group]]),
    })),
  };
}
function importanceChart(importances) {
  const order = importances.decisions.map((name, index) => index).sort((a, b) => importances.of.reward.shares[a] - importances.of.reward.shares[b]).slice(-16);
  return {
    grid: { left: 128, bottom: 40 },
    xAxis: { type: "value", name: "share of the predicted variance", axisLabel: { formatter: (value) => `${Math.round(100 * value)}%` } },
    yAxis: { type: "category", data: order.map((index) => importances.decisions[index].replace("blocks[", "block ").replace("].", " ")), splitLine: { show: false } },
    tooltip: { valueFormatter: (value) => `${(100 * value).toFixed(1)}%` },
    series: ["reward", "accuracy", "latency"].map((name) => ({ name, type: "bar", barGap: "10%", data: order.map((index) => importances.of[name].shares[index]) })),
  };
}

function timeChart(run) {
  const queue = known(run.times.queue_s) ? [["queue", run.times.queue_s]] : [];
  const parts = [...queue, ...run.times.phases.map((part) => [part.name, part.seconds]), ["phone", run.times.phone_s], ["waiting", run.times.waiting_s]].reverse();
  const scale = Math.max(...parts.map((part) => part[1])) > 7200 ? 3600 : 1;
  return {
    legend: false, grid: { left: 84, right: 70, top: 10, bottom: 44 },
    xAxis: { type: "value", name: `${scale === 1 ? "seconds" : "hours"}, all trials in sum` }, yAxis: { type: "category", data: parts.map((part) => part[0]), splitLine: { show: false } },
    tooltip: { formatter: (item) => `${item.name}: ${duration(item.value * scale)}` },
    series: [{ type: "bar", data: parts.map((part) => part[1] / scale), itemStyle: { color: colour(0), borderRadius: 3 }, label: { show: true, position: "right", color: css("--pale"), formatter: (item) => duration(item.value * scale) } }],
  };
}
function trialTimeChart(run) {
  const names = Object.keys(run.phase_s), t = run.trials, last = t.id.length, first = Math.max(0, last - 200);
  const rows = t.id.slice(first, last);
  return {
    xAxis: { type: "category", name: rows.length < t.id.length ? "trial (the last 200)" : "trial", data: rows.map(String), splitLine: { show: false } },
    yAxis: { type: "value", name: "seconds", nameGap: 42 }, tooltip: { trigger: "axis", valueFormatter: (value) => duration(value) },
    series: [
      ...(known(run.times.queue_s) ? [{ name: "queue", type: "bar", stack: "time", itemStyle: { color: css("--pale") }, data: rows.map((id, row) => t.queue_s[first + row] ?? 0) }] : []),
      ...names.map((name) => ({ name, type: "bar", stack: "time", data: run.phase_s[name].slice(first, last).map((value) => value ?? 0) })),
      { name: "waiting", type: "bar", stack: "time", itemStyle: { color: css("--pale"), opacity: 0.35 }, data: rows.map((id, row) => { const index = first + row; return known(t.duration_s[index]) && known(t.training_s[index]) ? Math.max(0, +(t.duration_s[index] - t.training_s[index] - (t.queue_s[index] ?? 0)).toFixed(3)) : 0; }) },
      { name: "phone", type: "scatter", symbolSize: 4, itemStyle: { color: css("--ink") }, data: rows.map((id, row) => t.phone_s[first + row]) },
    ],
  };
}
function busyChart(run) {
  const { step_s, children, phones } = run.busy, scale = step_s * children.length > 7200 ? 3600 : 1;
  const curve = (values) => values.map((value, index) => [((index + 0.5) * step_s) / scale, value]);
  return {
    xAxis: { type: "value", name: scale === 1 ? "seconds since the first proposal" : "hours since the first proposal", min: 0 }, yAxis: { type: "value", name: "children, phones", nameGap: 36, min: 0 },
    tooltip: { trigger: "axis", valueFormatter: (value) => number(value, 2) },
    series: [
      { name: "children in training", type: "line", step: "middle", showSymbol: false, data: curve(children), areaStyle: { opacity: 0.15 } },
      ...Object.entries(phones).map(([name, values]) => ({ name: `phone ${name}`, type: "line", step: "middle", showSymbol: false, data: curve(values) })),
    ],
  };
}
// One number of the measurements on a phone over time, in units that are `factor` times as small as the stored ones.
function phoneChart(phone, key, title, factor) {
  const { trial, at, [key]: values } = phone.measurements;
  const data = trial.map((id, index) => [Date.parse(at[index]), known(values[index]) ? factor * values[index] : null, id]).filter(([when, value]) => !Number.isNaN(when) && known(value));
  return {
    legend: false, grid: { left: 58, right: 14, top: 14, bottom: 40 },
    xAxis: { type: "time", splitLine: { show: false }, axisLine: { onZero: false }, axisLabel: { rich: { primary: { color: css("--pale"), fontWeight: "normal" } } } }, yAxis: roundAxis("", ...spread(data.map(([, value]) => value))),
    tooltip: { formatter: (item) => `trial ${item.value[2]}\n${title}: ${+item.value[1].toPrecision(4)}` },
    series: [{ type: "scatter", symbolSize: 5, data, itemStyle: { opacity: 0.65 } }],
  };
}
function windowsChart(phone) {
  const accepted = phone.accepted.flatMap((runs) => runs), rejected = phone.rejected.flatMap((window) => window.wall_ms);
  return {
    xAxis: { type: "value", name: "run", min: 0 }, yAxis: roundAxis("latency (ms)", ...spread([...accepted, ...rejected])),
    tooltip: { formatter: (item) => `${item.seriesName}, run ${item.value[0]}\n${milliseconds(item.value[1])}` },
    series: [
      { name: "accepted windows", type: "scatter", symbolSize: 5, data: accepted.map((value, index) => [index + 1, value]), itemStyle: { color: colour(2) } },
      ...(rejected.length ? [{ name: "rejected windows", type: "scatter", symbol: "triangle", symbolSize: 6, data: rejected.map((value, index) => [index + 1, value]), itemStyle: { color: css("--bad") } }] : []),
    ],
  };
}
function learningCurve(losses) {
  return {
    legend: false, xAxis: { type: "value", name: "epoch", min: 1, minInterval: 1 }, yAxis: roundAxis("training loss", ...spread(losses)),
    tooltip: { formatter: (item) => `epoch ${item.value[0]}\nloss ${number(item.value[1])}` },
    series: [{ type: "line", symbol: "circle", data: losses.map((loss, index) => [index + 1, loss]) }],
  };
}

// Best so far against something that grows; runs of one experiment with several seeds get a band from worst to best.
function bestCurve(run, along) {
  const t = run.trials, curve = [];
  let top = -Infinity, epochs = 0;
  const trained = (index) => known(t.training_s[index]) || (t.state[index] === "complete" && !known(t.repeat_of[index]));
  const order = t.id.map((id, index) => index);
  const end = (index) => (known(t.duration_s[index]) ? t.proposed_s[index] + t.duration_s[index] : Infinity);
  if (along !== "trials") order.sort((a, b) => end(a) - end(b));
  for (const index of order) {
    if (trained(index)) epochs += t.epochs[index] ?? run.experiment.training.epochs;
    if (!known(t.reward[index]) || t.state[index] === "stopped") continue;
    top = Math.max(top, t.reward[index]);
    curve.push([along === "trials" ? t.id[index] : along === "child-epochs" ? epochs : end(index) / 3600, top]);
  }
  return curve;
}
function at(curve, x) {
  let value = null;
  for (const [place, best] of curve) { if (place > x) break; value = best; }
  return value;
}
// Runs of one experiment with several seeds are one group.
function groupsOf(runs) {
  const groups = new Map();
  runs.forEach((run) => groups.set(run.group, [...(groups.get(run.group) || []), run]));
  return [...groups.values()].map((members) => ({ members, name: members.length < 2 ? members[0].name : `${members[0].name} and ${members.length - 1} more seeds` }));
}
// The networks of each group of runs, on the same phone.
function tradeOffs(groups) {
  const points = groups.map(({ members }) => members.flatMap((run) => complete(run).map((index) => [run.trials.latency_ms[index], run.trials.accuracy[index], run.trials.id[index], run.name])));
  const shown = points.flat(), runs = groups.flatMap(({ members }) => members), targets = runs.map((run) => run.target_ms);
  const [low, high] = shown.length ? spread(shown.map((point) => point[1])) : [0, 1], pad = (high - low || 0.1) * 0.08;
  const [fast, slow] = spread([...shown.map((point) => point[0]), ...targets]);
  const axis = roundAxis("accuracy on the reward set", Math.max(0, low - pad), Math.min(1, high + pad));
  return {
    xAxis: latencyAxis(runs[0], [fast * 0.93, slow * 1.07]),
    yAxis: axis,
    dataZoom: [zoomAlong("x"), zoomAlong("y")],
    tooltip: { formatter: ({ value }) => `${value[3]}, trial ${value[2]}\naccuracy ${number(value[1])}\nlatency ${milliseconds(value[0])}` },
    series: [
      ...groups.map(({ name }, index) => ({ name, type: "scatter", data: points[index], symbol: ["circle", "triangle", "rect", "diamond"][index % 4], symbolSize: shown.length > 1500 ? 4 : 8, itemStyle: { opacity: 0.65, color: colour(index) } })),
      ...[...new Set(targets)].map((target) => ({ name: "target", type: "line", data: [[target, axis.min], [target, axis.max]], showSymbol: false, silent: true, lineStyle: { type: "dashed", color: css("--bad"), width: 1.5 }, itemStyle: { color: css("--bad") } })),
    ],
  };
}
function comparison(runs, along) {
  const series = [], reached = runs.flatMap((run) => bestCurve(run, along).map(([, best]) => best));
  groupsOf(runs).forEach(({ members, name }, index) => {
    const curves = members.map((run) => bestCurve(run, along)), tint = colour(index);
    if (members.length < 2) {
      series.push({ name, type: "line", step: "end", showSymbol: false, data: curves[0], lineStyle: { color: tint, width: 2 }, itemStyle: { color: tint } });
      return;
    }
    const reach = Math.max(...curves.map((curve) => (curve.length ? curve[curve.length - 1][0] : 0))), grid = Array.from({ length: 101 }, (_, step) => (reach * step) / 100);
    const rows = grid.map((x) => [x, curves.map((curve) => at(curve, x)).filter(known)]).filter(([, values]) => values.length === curves.length);
    series.push({ name, type: "line", showSymbol: false, data: rows.map(([x, values]) => [x, median(values)]), lineStyle: { color: tint, width: 2 }, itemStyle: { color: tint } });
    series.push({ name: `${name}: lowest`, inLegend: false, type: "line", stack: `band ${index}`, silent: true, showSymbol: false, lineStyle: { opacity: 0 }, data: rows.map(([x, values]) => [x, Math.min(...values)]), tooltip: { show: false } });
    series.push({ name: `${name}: highest`, inLegend: false, type: "line", stack: `band ${index}`, silent: true, showSymbol: false, lineStyle: { opacity: 0 }, areaStyle: { color: tint, opacity: 0.18 }, data: rows.map(([x, values]) => [x, Math.max(...values) - Math.min(...values)]), tooltip: { show: false } });
  });
  return {
    xAxis: { type: "value", name: along, min: 0 }, yAxis: roundAxis("best reward so far", ...spread(reached)),
    tooltip: { trigger: "item", formatter: (item) => `${item.seriesName}\n${along} ${+item.value[0].toPrecision(4)}: ${number(item.value[1])}` },
    series,
  };
}
