"use strict";
// The list of runs, brought up to date; what the reader has ticked stays.
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
const list = () => document.getElementById("list");
const ticks = () => [...document.querySelectorAll("#list input[name]")];
const ticked = () => ticks().filter((one) => one.checked).map((one) => one.name);
async function renew() {
  const answer = await fetch("/");
  const fresh = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("list");
  if (!fresh || fresh.isEqualNode(list())) return;
  const names = new Set(ticked());
  list().replaceWith(fresh);
  for (const one of ticks()) one.checked = names.has(one.name);
}
document.addEventListener("change", ({ target }) => { if (target.id === "all") for (const one of ticks()) one.checked = target.checked; });
document.getElementById("compare").addEventListener("click", () => { if (ticked().length) location.href = `/compare?${ticked().map((name) => `run=${name}`).join("&")}`; });
setInterval(() => { if (!document.hidden) renew().catch(() => {}); }, 3000);
