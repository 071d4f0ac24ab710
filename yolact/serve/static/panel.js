// The panel beside the picture: threshold, classes and objects.

const byId = (id) => document.getElementById(id);

// Mark the score of each object above the slider, so that one sees what a move of the threshold does.
export function showTicks(objects, low) {
  byId("ticks").replaceChildren(
    ...objects.map((object) => {
      const tick = document.createElement("i");
      tick.style.left = `${(100 * (object.record.score - low)) / (1 - low)}%`;
      tick.style.background = object.colour;
      return tick;
    }),
  );
}

// List the classes by name: {name, colour or null, count, on}; `toggle(name, on)` is called for a change.
export function showClasses(classes, toggle) {
  byId("all-or-none").hidden = classes.length < 2;
  update(byId("classes"), classes, (entry) => entry.name, makeClass, (item, entry) => {
    const box = item.querySelector("input");
    box.checked = entry.on;
    box.onchange = () => toggle(entry.name, box.checked);
    item.querySelector(".figure").textContent = entry.count;
    paint(item, entry.colour);
  });
}

function makeClass(entry) {
  const item = document.createElement("li");
  item.innerHTML = '<label><input type="checkbox"><i class="swatch"></i><span class="name"></span><span class="figure"></span></label>';
  item.querySelector(".name").textContent = item.querySelector(".name").title = entry.name;
  return item;
}

// List the objects, best first; `point(object or null)` is called when one is hovered or left, `pin(object)` for a click.
export function showObjects(objects, pinned, point, pin) {
  byId("count").textContent = objects.length ? `${objects.length}` : "";
  update(byId("objects"), objects, (object) => object, makeObject, (item, object) => {
    const button = item.firstChild;
    button.onpointerenter = button.onfocus = () => point(object);
    button.onpointerleave = button.onblur = () => point(null);
    button.onclick = () => pin(object);
    button.setAttribute("aria-pressed", object === pinned);
  });
}

function makeObject(object) {
  const item = document.createElement("li");
  item.innerHTML = '<button type="button"><i class="swatch"></i><span class="name"></span><span class="score"></span><span class="figure area"></span></button>';
  const put = (selector, text) => (item.querySelector(selector).textContent = text);
  put(".name", object.name);
  put(".score", object.record.score.toFixed(2));
  put(".area", `${object.area.toLocaleString("en")} px`);
  paint(item, object.colour);
  return item;
}

// Bring a list up to date and leave items where they are, so that the focus stays.
function update(list, entries, key, make, refresh) {
  const old = new Map([...list.children].map((item) => [item.key, item]));
  entries.forEach((entry, index) => {
    const item = old.get(key(entry)) ?? make(entry);
    item.key = key(entry);
    if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
    refresh(item, entry);
  });
  while (list.children.length > entries.length) list.lastChild.remove();
}

function paint(item, colour) {
  const swatch = item.querySelector(".swatch");
  swatch.hidden = !colour;
  swatch.style.background = colour;
}
