// Ultralytics DiffAttn - AGPL-3.0 License
// What each button, slider and key of the page does.
import { ask, look, show } from "./maps.js";
import { $, LIMITS, post, state, tell } from "./server.js";
import { open, openCamera, pause, seek, stop, toggle } from "./sources.js";
import { fit, mark, outline } from "./stage.js";

const cross = { x: 0.5, y: 0.5 }; // of the keyboard, in shares of the image

async function upload(file, role) {
  if (!file) return;
  if (file.size > LIMITS.model) throw new Error(`${file.name} is too large: 256 MB are allowed.`);
  $("status").textContent = `Loading ${file.name} …`;
  const { models } = await (await post("model", { role, name: file.name }, file)).json();
  await use(models);
}

async function use(models) {
  Object.assign(state, { models, lambda: null, blocks: [] });
  await show(state.source);
}

async function download() {
  const png = await (await ask("picture")).blob();
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(png), download: "attention.png" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const share = (part, whole) => Math.min(Math.max(part / whole, 0), 1);

async function pick(picked) {
  await pause();
  state.picked = picked;
  await look();
}

// Say what went wrong, where the user sees it; what was shown before stays.
const guarded = action => async (...args) => {
  try {
    await action(...args);
  } catch (error) {
    tell(error);
    if (state.view) outline();
  }
};
const chosen = (id, action) => {
  $(id).onchange = guarded(async () => {
    const [file] = $(id).files;
    $(id).value = "";
    await action(file);
  });
};
const example = number => show({ path: "example", query: { number } });

$("example").onclick = guarded(async () => {
  await stop();
  await example(++state.example);
});
$("camera").onclick = guarded(openCamera);
$("play").onclick = guarded(toggle);
$("time").onchange = guarded(() => seek($("time").value));
$("download").onclick = guarded(download);
$("reset").onclick = guarded(() => use(""));
chosen("file", open);
chosen("model-file", file => upload(file, "model"));
chosen("baseline-file", file => upload(file, "baseline"));
$("confidence").oninput = () => { fit(); outline(); };
$("block").oninput = $("head").oninput = () => { fit(); if (state.picked) look(); };
$("lambda").oninput = () => { state.lambda = Number($("lambda").value); fit(); look(); };
$("learned").onclick = () => { state.lambda = null; fit(); look(); $("lambda").focus(); };
for (const radio of document.querySelectorAll("input[name=pick]")) {
  radio.onchange = () => document.body.classList.toggle("points", radio.value === "point");
}
for (const stage of document.querySelectorAll(".stage")) {
  Object.assign(stage, { tabIndex: 0, role: "application" });
  stage.setAttribute("aria-label", "Image: arrow keys move a cross, Enter looks from there, Tab goes through the boxes");
  const there = () => pick({ point: [cross.x * state.width, cross.y * state.height] });
  stage.onclick = event => {
    const { found } = event.target.closest("button") ?? {};
    if (found) return pick({ box: found.box, label: found.label });
    const { left, top, width, height } = stage.getBoundingClientRect();
    Object.assign(cross, { x: share(event.clientX - left, width), y: share(event.clientY - top, height) });
    there();
  };
  stage.onkeydown = event => {
    const step = event.shiftKey ? 0.1 : 0.02;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.target !== stage || !(event.key in moves || event.key === "Enter")) return;
    event.preventDefault();
    const [x, y] = moves[event.key] ?? [0, 0];
    Object.assign(cross, { x: share(cross.x + x, 1), y: share(cross.y + y, 1) });
    if (event.key === "Enter") there();
    else mark(stage, cross.x, cross.y);
  };
}
document.ondragover = event => { event.preventDefault(); document.body.classList.add("dropping"); };
document.ondragleave = () => document.body.classList.remove("dropping");
document.ondrop = guarded(async event => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  await (file?.name.endsWith(".pt") ? upload(file, "model") : open(file));
});
guarded(example)(0);
