// Where pictures come from: files and the camera. Only the last one that was asked for is shown.

import { grabFrame, openCamera } from "./camera.js";
import { busy, complain } from "./messages.js";
import { askInstances } from "./server.js";
import { show } from "./view.js";

const PAUSE = 400; // milliseconds before a busy server is asked again

const byId = (id) => document.getElementById(id);

let waiting = null; // AbortController of the file on its way
let camera = null; // {stop()} while it runs

// ---- Files

// Open the first picture of a list of files, such as dropped or pasted ones.
export async function openFiles(files, maxBytes) {
  const file = [...files].find((candidate) => candidate.type.startsWith("image/")) ?? files[0];
  if (!file) return;
  const name = file.name || "pasted.png";
  stopCamera();
  complain(files.length > 1 ? `One picture at a time: this is ${name}.` : null);
  if (file.size > maxBytes) {
    const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
    return complain(`${name} has ${megabytes(file.size)}, more than the limit of ${megabytes(maxBytes)}.`);
  }
  waiting?.abort();
  const mine = (waiting = new AbortController());
  busy(true);
  try {
    const [picture, answer] = await pictureAndAnswer(file, mine.signal);
    if (waiting === mine) show(picture, answer, name);
  } catch (error) {
    if (waiting === mine) complain(`${name}: ${error.message}`);
  }
  if (waiting === mine) busy(false);
}

// The browser shows its own copy, unless it cannot read the file or turns it another way than the model saw it.
async function pictureAndAnswer(file, signal) {
  const content = await file.arrayBuffer().catch(() => {
    throw new Error("The browser cannot read this file; look whether it is still there.");
  });
  const own = createImageBitmap(file).catch(() => null);
  const answer = await askInstances(content, false, signal);
  const picture = await own;
  if (picture?.width === answer.width && picture.height === answer.height) return [picture, answer];
  const full = await askInstances(content, true, signal);
  const image = new Image();
  image.src = full.picture;
  await image.decode();
  return [image, full];
}

// ---- Camera

export async function toggleCamera() {
  if (camera) return stopCamera();
  const mine = (camera = { stop() {} });
  waiting?.abort();
  waiting = null;
  complain(null);
  busy(true);
  markCamera();
  try {
    const video = byId("video");
    const stop = await openCamera(video);
    mine.stop = stop;
    while (camera === mine) {
      await oneFrame(video, mine);
      if (camera === mine) busy(false);
    }
  } catch (error) {
    if (camera === mine) complain(error.message);
  }
  mine.stop();
  if (camera !== mine) return;
  busy(false);
  stopCamera();
}

// Show what the camera sees together with what was found in exactly that frame.
async function oneFrame(video, mine) {
  const start = performance.now();
  const { frame, file } = await grabFrame(video);
  try {
    const answer = await askInstances(file, false);
    if (camera !== mine) return;
    show(frame, answer, "camera.jpg");
    byId("live").firstChild.textContent = `Live, ${(1000 / (performance.now() - start)).toFixed(1)} frames a second`;
    byId("live").hidden = false;
  } catch (error) {
    if (!error.busy) throw error;
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

// The last frame and its objects stay.
function stopCamera() {
  if (!camera) return;
  camera.stop();
  camera = null;
  busy(false);
  markCamera();
}

function markCamera() {
  if (!camera) byId("live").hidden = true;
  byId("status").setAttribute("aria-live", camera ? "off" : "polite"); // else each frame would be read out
  for (const button of document.querySelectorAll(".camera")) {
    button.textContent = camera ? "Stop camera" : button.dataset.text;
    button.classList.toggle("on", Boolean(camera));
  }
}
