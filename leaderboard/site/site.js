"use strict";
// Draws the figures of a page from the JSON beside each, in the reader's theme, as the switches of the page say.

const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 40rem)");
const LONGEST = 48; // characters of a name in a legend
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["toImage", "lasso2d", "select2d"] };

const figures = [...document.querySelectorAll(".icm-figure")].map((place) => ({
  place,
  plot: place.querySelector(".icm-plot"),
  ...JSON.parse(place.querySelector("script").textContent),
}));
const methods = [...document.querySelectorAll("input[name=method]")];

const switched = (id) => Boolean(document.getElementById(id)?.checked);
const short = (name) => (name.length > LONGEST ? `${name.slice(0, LONGEST)}…` : name);

// What is black on white, the anchor, is white in the dark.
const INKS = { "#000000": "#ffffff", "rgba(0,0,0,0.15)": "rgba(255,255,255,0.15)" };
const ink = (colour) => (dark.matches && INKS[colour]) || colour;
const inked = ({ line, marker, fillcolor, ...rest }) => ({
  ...rest,
  ...(line && { line: { ...line, color: ink(line.color) } }),
  ...(marker && { marker: { ...marker, color: ink(marker.color) } }),
  ...(fillcolor && { fillcolor: ink(fillcolor) }),
});

function traces(figure) {
  const shown = new Set(methods.filter((box) => box.checked).map((box) => box.value));
  const wanted = (trace) =>
    (!methods.length || trace.legendgroup === undefined || shown.has(trace.legendgroup)) && (trace.meta !== "seed" || switched("seeds"));
  return figure.data.map((trace) => ({ ...inked(trace), name: trace.name && short(trace.name), visible: wanted(trace) }));
}

function template(isDark) {
  const [paper, ink, grid] = isDark ? ["#14171a", "#e4e7ea", "#3a424b"] : ["#ffffff", "#1f2328", "#dde2e7"];
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, title: { standoff: 12 } };
  const font = { color: ink, family: "system-ui, sans-serif" };
  return { layout: { paper_bgcolor: paper, plot_bgcolor: paper, font, xaxis: axis, yaxis: axis, modebar: { color: ink } } };
}

function layout(figure) {
  const log = switched("log") && "log" in figure.place.dataset;
  const type = log ? "log" : figure.layout.xaxis.type;
  const margin = narrow.matches ? { ...figure.layout.margin, l: 45, r: 8 } : figure.layout.margin;
  const xaxis = { ...figure.layout.xaxis, type };
  const shapes = figure.layout.shapes?.map(inked);
  return { ...figure.layout, shapes, margin, xaxis, template: template(dark.matches), uirevision: String(log) };
}

// Plotly writes into what it is given.
const draw = () => figures.forEach((figure) => Plotly.react(figure.plot, structuredClone(traces(figure)), structuredClone(layout(figure)), CONFIG));

// A saved figure is as it is shown, but always on white.
function save(figure, format) {
  const { data, layout: shown } = figure.plot;
  const colours = ({ line, marker, fillcolor }) => ({ ...(line && { line }), ...(marker && { marker }), ...(fillcolor && { fillcolor }) });
  const printed = data.map((trace, number) => ({ ...trace, ...colours(figure.data[number]) }));
  const saved = { data: printed, layout: { ...shown, shapes: figure.layout.shapes, template: template(false) }, config: CONFIG };
  return Plotly.downloadImage(saved, { format, filename: figure.place.dataset.name, width: 1000, height: 620, scale: 2 });
}

for (const figure of figures)
  for (const button of figure.place.querySelectorAll("button[data-format]"))
    button.addEventListener("click", () => save(figure, button.dataset.format));
for (const button of document.querySelectorAll("button[data-all]"))
  button.addEventListener("click", () => {
    methods.forEach((box) => (box.checked = button.dataset.all === "true"));
    draw();
  });
document.querySelector(".icm-switches")?.addEventListener("change", draw);
for (const query of [dark, narrow]) query.addEventListener("change", draw);
draw();
