// Ultralytics DiffAttn - AGPL-3.0 License
// From an image to its boxes, and from a box or point to its maps.
import { $, post, state, tell } from "./server.js";
import { fit, lastBlock, outline, paint } from "./stage.js";

const TITLES = { baseline: () => `${state.baseline}: A`, A1: () => (state.differential ? "A1" : "A") };
const MEANING = "A1 and A2 are the two softmax maps; A1 − λ·A2 weighs the values.";
const PLAIN = "This model has plain attention: one softmax map, and nothing is subtracted.";

// Show an image: {path, query, body, frame}. It stays in `state.source`, to be sent again if the server has dropped it.
export async function show(source) {
  document.body.classList.add("busy");
  try {
    const query = { ...source.query, instead_of: state.view };
    let seen;
    try {
      seen = await (await post(source.path, query, source.body)).json();
    } catch (error) {
      if (!error.gone) throw error;
      state.models = "";
      seen = await (await post(source.path, query, source.body)).json();
      $("status").textContent = "The server has dropped your models: choose them again.";
    }
    if (!source.frame) tell();
    Object.assign(state, { source, view: seen.view, boxes: seen.boxes, baselineBoxes: seen.baseline_boxes });
    if (seen.blocks.length !== state.blocks.length) lastBlock(seen.blocks);
    Object.assign(state, { blocks: seen.blocks, width: seen.width, height: seen.height, picked: null });
    Object.assign(state, { model: seen.model, baseline: seen.baseline, differential: seen.differential });
    for (const figure of ["baseline", "model"]) paint(figure, source.frame ?? seen.image);
    fit();
    outline();
    $("maps").hidden = true;
  } finally {
    document.body.classList.remove("busy");
  }
}

// Ask for the maps or the picture of what is picked.
export async function ask(path) {
  const picked = state.picked;
  const body = () => JSON.stringify({
    ...(picked ?? { point: [state.width / 2, state.height / 2] }), // lambda moves boxes before anything is picked, too
    view: state.view, lambda: state.lambda, confidence: Number($("confidence").value),
    block: Number($("block").value), head: $("head").value < 0 ? null : Number($("head").value),
  });
  try {
    return await post(path, {}, body());
  } catch (error) {
    if (!error.gone) throw error;
    await show(state.source);
    state.picked = picked;
    return post(path, {}, body());
  }
}

// One request at a time: while one is under way, only the last position of a slider is remembered.
let looking = false, again = false;
export async function look() {
  again = true;
  if (looking) return;
  looking = true;
  try {
    while (again) {
      again = false;
      const seen = await (await ask("look")).json();
      state.boxes = seen.boxes;
      tell();
      outline();
      if (state.picked) showMaps(seen);
    }
  } catch (error) {
    tell(error);
  } finally {
    looking = false;
  }
}

function showMaps({ panels, notes }) {
  $("maps").hidden = false;
  const where = state.picked.point?.map(Math.round).join(", ");
  $("maps-title").textContent = where ? `From the point ${where}` : `From ${state.picked.label}`;
  $("notes").textContent = notes.join(" · ");
  $("legend").textContent = state.differential ? MEANING : "This model has plain attention: one softmax map, nothing subtracted.";
  const figures = panels.map(({ title, src }) => {
    const figure = document.createElement("figure"), image = new Image();
    const name = TITLES[title]?.() ?? title;
    Object.assign(image, { src, alt: `Attention map ${name}` });
    figure.append(image, Object.assign(document.createElement("figcaption"), { textContent: name }));
    return figure;
  });
  $("panels").replaceChildren(...figures);
  $("panels").dataset.shown = Number($("panels").dataset.shown ?? 0) + 1;
  if (matchMedia("(max-width: 40rem)").matches) $("maps").scrollIntoView({ block: "nearest", behavior: "smooth" });
}

