// Ultralytics DiffAttn - AGPL-3.0 License
// Both images with their boxes, and the sliders' ranges.
import { $, state } from "./server.js";

const COLOURS = ["#0063b1", "#b34700", "#00704f", "#93306c", "#7a5900", "#4d5863"];

export function paint(figure, src) {
  $(figure).hidden = figure === "baseline" && state.baseline === null;
  const kind = figure === "model" && !state.differential ? " (plain attention)" : "";
  $(figure).querySelector("figcaption").textContent = `${state[figure] ?? ""}${kind}`;
  const stage = $(figure).querySelector(".stage");
  let image = stage.querySelector("img");
  if (!image) stage.prepend((image = new Image()));
  image.width = state.width;
  image.height = state.height;
  image.src = src;
  image.alt = `The image with the boxes of ${state[figure]}`;
}

// Begin with the block next to the boxes.
export function lastBlock(blocks) {
  $("block").max = Math.max(blocks.length - 1, 0);
  $("block").value = $("block").max;
  $("head").value = -1;
}

// Ranges of the sliders, for the model that is shown.
export function fit() {
  $("block").max = Math.max(state.blocks.length - 1, 0);
  $("block-label").hidden = state.blocks.length < 2;
  const block = state.blocks[$("block").value] ?? { name: "", heads: 1, lambda: null };
  $("head").max = block.heads - 1;
  $("head-label").hidden = block.heads < 2;
  $("lambda-label").hidden = !state.differential;
  const mean = block.lambda ? block.lambda.reduce((a, b) => a + b, 0) / block.lambda.length : 0;
  if (state.lambda === null) $("lambda").value = mean;
  $("confidence-value").value = Number($("confidence").value).toFixed(2);
  $("block-value").value = block.name;
  $("head-value").value = $("head").value < 0 ? "mean" : $("head").value;
  $("lambda-value").value = state.lambda === null ? `${mean.toFixed(2)}, learned` : `${state.lambda.toFixed(2)}, by hand`;
  $("learned").hidden = state.lambda === null;
}

// Boxes as buttons over both images, the smallest on top.
export function outline() {
  const least = Number($("confidence").value), names = [];
  for (const [figure, boxes] of [["baseline", state.baselineBoxes ?? []], ["model", state.boxes]]) {
    const stage = $(figure).querySelector(".stage");
    const focused = [...stage.querySelectorAll("button")].indexOf(document.activeElement);
    stage.querySelectorAll("button, .cross").forEach(e => e.remove());
    const area = ({ box: [l, t, r, b] }) => (r - l) * (b - t);
    for (const found of boxes.filter(b => b.score >= least).sort((a, b) => area(b) - area(a))) {
      const [l, t, r, b] = found.box, name = found.label.replace(/ [\d.]+$/, "");
      if (!names.includes(name)) names.push(name);
      const button = Object.assign(document.createElement("button"), { type: "button" });
      const share = { left: l / state.width, top: t / state.height, width: (r - l) / state.width, height: (b - t) / state.height };
      for (const [side, value] of Object.entries(share)) button.style[side] = `${100 * value}%`;
      button.style.setProperty("--box", COLOURS[names.indexOf(name) % COLOURS.length]);
      button.classList.toggle("top", share.top < 0.07);
      button.classList.toggle("right", share.left > 0.7);
      button.setAttribute("aria-pressed", String(state.picked?.box?.join() === found.box.join()));
      button.append(Object.assign(document.createElement("span"), { textContent: found.label }));
      button.found = found; // page.js picks it
      stage.append(button);
    }
    if (focused >= 0) stage.querySelectorAll("button")[focused]?.focus();
    if (state.picked?.point) mark(stage, state.picked.point[0] / state.width, state.picked.point[1] / state.height);
  }
  const count = boxes => (boxes ?? []).filter(b => b.score >= least).length;
  const beside = state.baseline === null ? "" : `${count(state.baselineBoxes)} boxes by ${state.baseline}, `;
  const none = !state.picked ? " Click on the image." : "";
  $("status").textContent = `${beside}${count(state.boxes)} boxes by ${state.model}.${none}`;
}

export function mark(stage, x, y) {
  stage.querySelector(".cross")?.remove();
  const sign = Object.assign(document.createElement("div"), { className: "cross" });
  Object.assign(sign.style, { left: `${100 * x}%`, top: `${100 * y}%` });
  stage.append(sign);
}

