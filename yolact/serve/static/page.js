// A picture goes to the server once; everything after that happens here.

import { busy, complain } from "./messages.js";
import { masksBlob, recordsBlob, save } from "./save.js";
import { askModel } from "./server.js";
import { openFiles, toggleCamera } from "./sources.js";
import * as view from "./view.js";

const byId = (id) => document.getElementById(id);

async function begin() {
  let model;
  try {
    model = await askModel();
  } catch (error) {
    return complain(error.message);
  }
  view.setModel(model);
  const classes = model.classes.length === 1 ? "1 class" : `${model.classes.length} classes`;
  document.title = `YOLACT: ${model.name}`;
  byId("model").textContent = [model.name, model.weights, classes, model.device].join(" · ");
  byId("limits").textContent =
    `PNG, JPEG, WebP, BMP, GIF or TIFF, up to ${model.max_bytes / 1e6} MB and ${model.max_pixels / 1e6} megapixels. ` +
    "Pictures go to the server of this page only, which does not store them.";
  const slider = byId("threshold");
  slider.min = model.low_score;
  slider.value = view.getThreshold();
  listenForPictures((files) => openFiles(files, model.max_bytes));
  listenToPanel();
  listenToPicture();
  view.refresh();
}

function listenForPictures(open) {
  const file = byId("file");
  for (const button of document.querySelectorAll(".choose")) button.onclick = () => file.click();
  for (const button of document.querySelectorAll(".camera")) button.onclick = toggleCamera;
  file.onchange = () => {
    open([...file.files]);
    file.value = ""; // the same file may be chosen again
  };
  document.onpaste = (event) => open([...event.clipboardData.files]);
  document.ondragover = (event) => event.preventDefault();
  let depth = 0; // of the elements that a dragged file is over
  const dropping = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dropping", depth > 0);
  };
  document.ondragenter = () => dropping(1);
  document.ondragleave = () => dropping(-1);
  document.ondrop = (event) => {
    event.preventDefault();
    dropping(-depth);
    open([...event.dataTransfer.files]);
  };
}

function listenToPanel() {
  byId("threshold").oninput = (event) => view.setThreshold(Number(event.target.value));
  for (const part of ["masks", "boxes", "labels"]) byId(`show-${part}`).onchange = view.paint;
  byId("all").onclick = () => view.switchClasses(true);
  byId("none").onclick = () => view.switchClasses(false);
  byId("save-json").onclick = () => save(recordsBlob(view.visible(), view.pictureName()), `${stem()}.json`);
  byId("save-masks").onclick = saveMasks;
  byId("trouble").lastChild.onclick = () => complain(null);
}

async function saveMasks() {
  const name = stem();
  busy(true);
  try {
    save(await masksBlob(view.visible(), name), `${name}_masks.zip`);
  } catch (error) {
    complain(`The masks cannot be packed: ${error.message}`);
  }
  busy(false);
}

const stem = () => view.pictureName().replace(/\.[^.]*$/, "") || "picture";

function listenToPicture() {
  const canvas = byId("canvas");
  canvas.onpointermove = (event) => {
    if (event.pointerType === "mouse") view.point(view.objectAt(event));
  };
  canvas.onpointerleave = () => view.point(null);
  canvas.onclick = (event) => view.pin(view.objectAt(event));
  document.onkeydown = (event) => {
    if (event.key === "Escape") view.pin(null); // and nothing is returned: false would take the key from the page
  };
  new ResizeObserver(view.refit).observe(byId("stage"));
}

begin();
