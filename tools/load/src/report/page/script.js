// Reads out the interval under the pointer, or the one chosen with the arrow keys.
"use strict";
(() => {
  const figure = document.querySelector(".timeline");
  if (!figure) return;
  const { intervals } = JSON.parse(document.getElementById("run").textContent);
  const output = figure.querySelector("output");
  const plots = figure.querySelectorAll(".plot");
  const last = intervals[intervals.length - 1];
  const whole = last.t_ns + last.len_ns;
  let chosen = -1;
  const number = (value) => value.toLocaleString("en-US");
  const latency = (ns) => ns === null ? "-" : number(Math.round(ns / 100) / 10) + " µs";
  const seconds = (ns) => (ns / 1e9).toFixed(2);
  const show = (index) => {
    chosen = Math.max(0, Math.min(intervals.length - 1, index));
    const one = intervals[chosen];
    output.textContent = `${seconds(one.t_ns)} to ${seconds(one.t_ns + one.len_ns)} s: offered ${number(one.offered)}, ` +
      `sent ${number(one.sent)}, replied ${number(one.replied)}, lost ${number(one.lost)}; ` +
      `p50 ${latency(one.p50)}, p99 ${latency(one.p99)}, max ${latency(one.max)}, lag max ${latency(one.lag_max)}` +
      (one.server_cpu_ns === undefined ? "" : `, server's CPU ${Math.round(100 * one.server_cpu_ns / one.len_ns)}%`);
    for (const plot of plots) {
      let cursor = plot.querySelector(".cursor");
      if (!cursor) plot.append(cursor = Object.assign(document.createElement("div"), { className: "cursor" }));
      cursor.style.left = 100 * (one.t_ns + one.len_ns / 2) / whole + "%";
    }
  };
  figure.addEventListener("pointermove", (event) => {
    const box = plots[0].getBoundingClientRect();
    const time = whole * (event.clientX - box.left) / box.width;
    const index = intervals.findIndex((one) => time < one.t_ns + one.len_ns);
    if (time >= 0 && index >= 0) show(index);
  });
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    show(chosen + step);
  });
})();
