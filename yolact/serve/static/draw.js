// The picture with what was found in it, on a canvas as fine as the screen.

const MANY = 30; // objects from which labels that are large beside their object are left out
const LARGEST = 8; // times that a small picture is enlarged
const NARROW_SHARE = 0.62; // of the page's height, for the picture; the rest is for what one changes

// Give the canvas the largest size at which the picture fits into its stage, which on a narrow page takes the height of
// the picture.
export function fit(canvas, stage, width, height) {
  const narrow = window.matchMedia("(max-width: 820px)").matches;
  const room = narrow ? NARROW_SHARE * window.innerHeight : stage.clientHeight;
  const scale = Math.min(stage.clientWidth / width, room / height, LARGEST);
  const ratio = window.devicePixelRatio || 1;
  canvas.style.width = `${Math.max(1, Math.round(width * scale))}px`;
  canvas.style.height = `${Math.max(1, Math.round(height * scale))}px`;
  canvas.width = Math.max(1, Math.round(width * scale * ratio));
  canvas.height = Math.max(1, Math.round(height * scale * ratio));
}

// Draw the picture and its objects, the best on top; where one is active, it stands out and the others step back.
export function draw(canvas, view) {
  const context = canvas.getContext("2d");
  const [scaleX, scaleY] = [canvas.width / view.width, canvas.height / view.height];
  const ratio = window.devicePixelRatio || 1;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalAlpha = 1;
  context.imageSmoothingQuality = "high";
  context.drawImage(view.picture, 0, 0, canvas.width, canvas.height);
  context.setTransform(scaleX, 0, 0, scaleY, 0, 0);
  context.lineJoin = "round";
  const pen = ratio / Math.sqrt(scaleX * scaleY); // one pixel of the page
  const others = view.objects.filter((object) => object !== view.active).reverse();
  for (const object of others) drawObject(context, object, view, pen, view.active ? 0.35 : 1);
  if (view.active) drawActive(context, view, pen);
  if (view.show.labels) drawLabels(context, canvas, view, scaleX, scaleY, ratio);
}

function drawObject(context, object, view, pen, strength) {
  context.strokeStyle = context.fillStyle = object.colour;
  if (view.show.masks && object.path) {
    context.globalAlpha = 0.42 * strength;
    context.fill(object.path, "evenodd");
    context.globalAlpha = strength;
    context.lineWidth = 1.5 * pen;
    context.stroke(object.path);
  }
  if (view.show.boxes) {
    context.globalAlpha = strength;
    context.lineWidth = 1.5 * pen;
    context.strokeRect(...object.record.bbox);
  }
  context.globalAlpha = 1;
}

function drawActive(context, view, pen) {
  const { active } = view;
  const shape = active.path && (view.show.masks || !view.show.boxes) ? active.path : null;
  context.strokeStyle = "#fff";
  context.lineWidth = 6 * pen;
  shape ? context.stroke(shape) : context.strokeRect(...active.record.bbox);
  context.fillStyle = context.strokeStyle = active.colour;
  context.lineWidth = 2.5 * pen;
  if (shape) {
    context.globalAlpha = 0.3;
    context.fill(shape, "evenodd");
    context.globalAlpha = 1;
    context.stroke(shape);
  }
  if (view.show.boxes || !shape) context.strokeRect(...active.record.bbox);
}

// Write each label at a side of its box where it hides no other label and as little as possible of objects, the first
// ones first. The active object has no label, because the tip tells more.
function drawLabels(context, canvas, view, scaleX, scaleY, ratio) {
  const crowded = view.objects.length >= MANY;
  const size = (crowded ? 11 : 12.5) * ratio;
  const [padding, height] = [0.35 * size, 1.4 * size];
  const taken = [];
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.font = `600 ${size}px system-ui, "DejaVu Sans", sans-serif`;
  context.textBaseline = "middle";
  const boxes = view.objects.map(({ record: { bbox: [x, y, w, h] } }) => ({
    left: x * scaleX, top: y * scaleY, right: (x + w) * scaleX, bottom: (y + h) * scaleY,
  }));
  for (const [index, object] of view.objects.entries()) {
    if (object === view.active) continue;
    const score = object.record.score.toFixed(2);
    const text = view.oneClass ? score : `${object.name} ${score}`;
    const width = context.measureText(text).width + 2 * padding;
    const { left, top, right, bottom } = boxes[index];
    if (crowded && (right - left) * (bottom - top) < 3 * width * height) continue;
    const columns = view.show.boxes ? [left, right - width] : [(left + right - width) / 2, left, right - width];
    const spots = [top - height, bottom, top, bottom - height]
      .flatMap((row) => columns.map((column) => spotAt(column, row, width, height, canvas)))
      .filter((spot) => !taken.some((other) => shared(spot, other)))
      .map((spot) => ({ ...spot, hides: boxes.reduce((sum, box) => sum + shared(spot, box), 0) }));
    if (!spots.length) continue;
    const spot = spots.reduce((best, other) => (other.hides < best.hides ? other : best));
    taken.push(spot);
    context.globalAlpha = view.active ? 0.35 : 1;
    context.fillStyle = object.colour;
    context.fillRect(spot.left, spot.top, width, height);
    context.fillStyle = isLight(object.colour) ? "#181818" : "#fff";
    context.fillText(text, spot.left + padding, spot.top + 0.53 * height);
  }
  context.globalAlpha = 1;
}

function spotAt(column, row, width, height, canvas) {
  const left = Math.max(0, Math.min(column, canvas.width - width));
  const top = Math.max(0, Math.min(row, canvas.height - height));
  return { left, top, right: left + width, bottom: top + height };
}

// Return the area that two rectangles share.
function shared(one, other) {
  const width = Math.min(one.right, other.right) - Math.max(one.left, other.left);
  const height = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
  return Math.max(0, width) * Math.max(0, height);
}

function isLight(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue >= 140;
}
