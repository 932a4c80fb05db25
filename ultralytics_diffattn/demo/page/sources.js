// Ultralytics DiffAttn - AGPL-3.0 License
// Where images come from: files, videos and cameras. A video stays in the browser, which sends one frame after the other.
import { show } from "./maps.js";
import { $, LIMITS, state } from "./server.js";

const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
const canvas = document.createElement("canvas");
let playing = false, underway = Promise.resolve();

export async function open(file) {
  if (!file) return;
  await stop();
  if (file.type.startsWith("video/")) return openVideo({ src: URL.createObjectURL(file) });
  if (file.size > LIMITS.image) throw new Error(`${file.name} is too large: 64 MB are allowed.`);
  $("status").textContent = `Reading ${file.name} …`;
  await show({ path: "image", query: { name: file.name }, body: file });
}

export async function openCamera() {
  await stop();
  if (!navigator.mediaDevices) throw new Error("No camera: browsers allow it at https:// and on this machine alone.");
  let srcObject;
  try {
    srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    throw new Error(error.name === "NotAllowedError" ? "The browser does not allow the camera." : "No camera was found.");
  }
  await openVideo({ srcObject });
  await play();
}

async function openVideo(source) {
  await new Promise((done, failed) => {
    video.onloadeddata = done;
    video.onerror = () => failed(new Error("This browser cannot play that file; MP4 (H.264) and WebM work in most."));
    Object.assign(video, source);
  });
  $("player").hidden = false;
  $("time").hidden = !Number.isFinite(video.duration);
  await frame();
}

// Send the frame that the video shows now; on the server it takes the place of the one before.
async function frame() {
  const scale = Math.min(1, 1280 / Math.max(video.videoWidth, video.videoHeight));
  canvas.width = video.videoWidth * scale;
  canvas.height = video.videoHeight * scale;
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const body = await new Promise(done => canvas.toBlob(done, "image/jpeg", 0.92));
  const last = state.source?.frame, shown = URL.createObjectURL(body);
  await show({ path: "image", query: { name: "frame.jpg", frame: 1 }, body, frame: shown });
  if (last) URL.revokeObjectURL(last);
  if (Number.isFinite(video.duration)) $("time").value = video.currentTime / video.duration;
}

export function play() {
  underway = (async () => {
    try {
      playing = true;
      label();
      await video.play();
      while (playing && !video.ended) await frame();
    } finally {
      playing = false;
      video.pause();
      label();
    }
  })();
  return underway;
}

// Resolves when the last frame that was sent is there, so that it is the one that a click is about.
export async function pause() {
  playing = false;
  await underway.catch(() => {});
}

export const toggle = () => (playing ? pause() : play());

export async function seek(share) {
  await pause();
  const there = new Promise(done => (video.onseeked = done));
  video.currentTime = share * video.duration;
  await there;
  await frame();
}

export async function stop() {
  await pause();
  video.srcObject?.getTracks().forEach(track => track.stop());
  if (video.src) URL.revokeObjectURL(video.src);
  Object.assign(video, { srcObject: null, onerror: null });
  video.removeAttribute("src");
  $("player").hidden = true;
}

function label() {
  $("play").textContent = playing ? "Pause" : "Play";
  $("play").setAttribute("aria-pressed", String(playing));
}
