// Ultralytics DiffAttn - AGPL-3.0 License
// What the page knows, and how it asks the server.
export const $ = id => document.getElementById(id);
export const LIMITS = { image: 64e6, model: 256e6 }; // bytes, as in app.py

export const state = {
  models: "", view: "", // names under which the server keeps them
  source: null, // what was sent last, to be sent again if the server has dropped it
  example: 0, width: 1, height: 1, boxes: [], baselineBoxes: null, blocks: [],
  model: "", baseline: null, differential: true,
  picked: null, lambda: null, // null for the learned one
};

export function tell(error) {
  $("error").textContent = error ? error.message ?? error : "";
  $("error").hidden = !error;
}

export async function post(path, query, body) {
  const parameters = new URLSearchParams({ models: state.models, ...query });
  let answer;
  try {
    answer = await fetch(`api/${path}?${parameters}`, { method: "POST", body });
  } catch {
    throw new Error("The server does not answer. Does `diffattn demo` still run?");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({ error: `the server failed (${answer.status}).` }));
  throw Object.assign(new Error(said.error), { gone: answer.status === 410 });
}

