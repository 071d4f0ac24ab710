// The picture, what was found in it, and which of that is visible. Moving the threshold or a switch asks no server.

import { draw, fit } from "./draw.js";
import { areaOf, covers, outline, regionOf, runLengths } from "./masks.js";
import { showClasses, showObjects, showTicks } from "./panel.js";

const FINEST = 2000; // pixels along the longer side beyond which masks are drawn from fewer rows and columns

const byId = (id) => document.getElementById(id);
const [canvas, stage, tip] = [byId("canvas"), byId("stage"), byId("tip")];

let model = null;
let shown = null; // {picture, name, answer, width, height, objects}
let [hovered, pinned] = [null, null];
let threshold = 0.3;
const off = new Set(); // names of classes

// ---- What is there, and what of it is visible

export function setModel(described) {
  model = described;
}

// Show a picture (whatever a canvas can draw) with the server's answer.
export function show(picture, answer, name) {
  [hovered, pinned] = [null, null];
  shown = { picture, name, answer, width: answer.width, height: answer.height, objects: objectsOf(answer) };
  document.body.classList.remove("empty");
  byId("welcome").hidden = true;
  canvas.hidden = false;
  refit();
  refresh();
}

function objectsOf(answer) {
  const step = Math.ceil(Math.max(answer.width, answer.height) / FINEST);
  return answer.instances.map(({ category_name: name, colour, record }) => {
    const lengths = runLengths(record.segmentation.counts);
    const region = regionOf(lengths, answer.height, step);
    return { name, colour, record, lengths, area: areaOf(lengths), region, path: region && outline(region) };
  });
}

const above = () => shown.objects.filter((object) => object.record.score > threshold);

// Return the objects above the threshold whose class is on, best first.
export const visible = () => above().filter((object) => !off.has(object.name));

// Return the name of the picture's file.
export const pictureName = () => shown.name;

export function getThreshold() {
  return threshold;
}

export function setThreshold(score) {
  threshold = score;
  refresh();
}

export function switchClasses(on, names = classes().map(({ name }) => name)) {
  for (const name of names) on ? off.delete(name) : off.add(name);
  refresh();
}

// Return what the panel lists: the classes in this picture, and those that are off, so that they can come back.
function classes() {
  const colours = new Map(shown.objects.map((object) => [object.name, object.colour]));
  const counts = new Map();
  for (const { name } of above()) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...new Set(model.classes)]
    .filter((name) => colours.has(name) || off.has(name))
    .map((name) => ({
      name,
      colour: model.classes.length > 1 ? colours.get(name) : null, // of a single class, each object has its own
      count: counts.get(name) ?? 0,
      on: !off.has(name),
    }));
}

// ---- Bringing the page up to date

export function refresh() {
  byId("threshold-value").textContent = threshold.toFixed(2);
  if (!shown) return;
  const objects = visible();
  if (!objects.includes(pinned)) pinned = null;
  if (!objects.includes(hovered)) hovered = null;
  showTicks(shown.objects.filter((object) => !off.has(object.name)), model.low_score);
  showClasses(classes(), (name, on) => switchClasses(on, [name]));
  showObjects(objects, pinned, point, pin);
  byId("hint").textContent = objects.length ? "" : hint();
  byId("status").textContent = status(objects);
  for (const id of ["save-json", "save-masks"]) byId(id).disabled = !objects.length;
  canvas.setAttribute("aria-label", `${shown.name}, ${counted(objects.length, "object")}`);
  paint();
}

function hint() {
  if (!shown.objects.length) return "Nothing was found in this picture.";
  if (above().length) return "All classes of what was found are switched off.";
  return `Nothing has a higher score; the best has ${shown.objects[0].record.score.toFixed(2)}.`;
}

function status(objects) {
  const { answer, width, height } = shown;
  return [
    `${objects.length} of ${counted(shown.objects.length, "object")} shown`,
    `model ${Math.round(answer.milliseconds.model)} ms`,
    `answer after ${Math.round(answer.roundTrip)} ms`,
    `${width} × ${height}`,
  ].map((part) => part.replaceAll(" ", "\u00a0")).join(" · "); // lines break between parts only
}

const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

// Fit the picture into the page again.
export function refit() {
  if (!shown) return;
  fit(canvas, stage, shown.width, shown.height);
  paint();
}

let painting = false;

export function paint() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => {
    painting = false;
    if (!shown) return;
    const parts = Object.fromEntries(["masks", "boxes", "labels"].map((part) => [part, byId(`show-${part}`).checked]));
    const oneClass = model.classes.length === 1;
    draw(canvas, { ...shown, objects: visible(), active: hovered ?? pinned, show: parts, oneClass });
    showTip();
  });
}

// ---- One object among many

// Make an object stand out while it is pointed at; null for none.
export function point(object) {
  if (object === hovered) return;
  hovered = object;
  paint();
}

// Keep an object standing out until it is pinned again, or another one or null is.
export function pin(object) {
  if (!shown) return;
  pinned = pinned === object ? null : object;
  refresh();
}

export function objectAt(event) {
  const area = canvas.getBoundingClientRect();
  const x = ((event.clientX - area.left) / area.width) * shown.width;
  const y = ((event.clientY - area.top) / area.height) * shown.height;
  const objects = visible().sort((one, other) => one.area - other.area); // small ones are often on top of large ones
  const hit = objects.find((object) => object.region && covers(object.region, x, y));
  if (hit || !byId("show-boxes").checked) return hit ?? null;
  const holds = ([left, top, width, height]) => x >= left && x < left + width && y >= top && y < top + height;
  return objects.find((object) => holds(object.record.bbox)) ?? null;
}

function showTip() {
  const object = hovered ?? pinned;
  tip.hidden = !object;
  if (!object) return;
  const share = (100 * object.area) / (shown.width * shown.height);
  const title = document.createElement("b");
  title.textContent = `${object.name} ${object.record.score.toFixed(2)}`;
  tip.replaceChildren(title, `${object.area.toLocaleString("en")} px, ${share.toPrecision(2)} % of the picture`);
  const [x, y, width, height] = object.record.bbox.map((value) => (value * canvas.clientWidth) / shown.width);
  const [left, top] = [canvas.offsetLeft + x + width / 2, canvas.offsetTop + y];
  const above = top - tip.offsetHeight - 10;
  const below = Math.min(top + height + 10, stage.clientHeight - tip.offsetHeight - 6);
  const column = Math.max(6, Math.min(left - tip.offsetWidth / 2, stage.clientWidth - tip.offsetWidth - 6));
  tip.style.transform = `translate(${Math.round(column)}px, ${Math.round(above < 0 ? below : above)}px)`;
}
