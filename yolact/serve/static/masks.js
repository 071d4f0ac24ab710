// Masks as the server sends them: COCO's compressed run lengths, column by column, beginning with background.

// Return the run lengths of a compressed string: five bits a character, low ones first, the sixth says that more
// follow; from the fourth number on, each is the difference to the one two places before.
export function runLengths(text) {
  const lengths = [];
  for (let at = 0; at < text.length; ) {
    let value = 0;
    let shift = 0;
    let bits;
    do {
      bits = text.charCodeAt(at++) - 48;
      value |= (bits & 31) << shift;
      shift += 5;
    } while (bits & 32);
    if (bits & 16 && shift < 32) value |= -1 << shift;
    if (lengths.length > 2) value += lengths[lengths.length - 2];
    lengths.push(value);
  }
  return lengths;
}

// Call `use(x, top, bottom)` for each vertical run of the object, in pixels; bottom is not part of it.
export function eachRun(lengths, height, use) {
  let at = 0;
  lengths.forEach((length, number) => {
    for (let left = length; number % 2 && left > 0; ) {
      const x = Math.floor(at / height);
      const top = at - x * height;
      const part = Math.min(left, height - top);
      use(x, top, top + part);
      at += part;
      left -= part;
    }
    if (number % 2 === 0) at += length;
  });
}

export function areaOf(lengths) {
  return lengths.reduce((sum, length, number) => sum + (number % 2 ? length : 0), 0);
}

// Return the mask as one byte for each pixel of the rectangle that holds it, with a margin of one pixel; of large
// pictures only every `step`-th row and column, which a screen shows no worse.
export function regionOf(lengths, height, step) {
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  eachRun(lengths, height, (x, first, end) => {
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, first);
    bottom = Math.max(bottom, end - 1);
  });
  if (right < 0) return null;
  const region = { left: Math.floor(left / step), top: Math.floor(top / step), step };
  region.width = Math.floor(right / step) - region.left + 1;
  region.height = Math.floor(bottom / step) - region.top + 1;
  region.stride = region.width + 2;
  region.bits = new Uint8Array(region.stride * (region.height + 2));
  eachRun(lengths, height, (x, first, end) => {
    if (x % step) return;
    const row = (y) => (y - region.top + 1) * region.stride + x / step - region.left + 1;
    for (let y = Math.ceil(first / step); y * step < end; y++) region.bits[row(y)] = 1;
  });
  return region;
}

// Tell whether the object covers a point of the picture.
export function covers(region, x, y) {
  const column = Math.floor(x / region.step) - region.left;
  const row = Math.floor(y / region.step) - region.top;
  if (column < 0 || row < 0 || column >= region.width || row >= region.height) return false;
  return region.bits[(row + 1) * region.stride + column + 1] === 1;
}

// Directions are right, down, left, up. The object lies to the right of the way.
const STEP_X = [1, 0, -1, 0];
const STEP_Y = [0, 1, 0, -1];
const RIGHT_X = [0, -1, -1, 0];
const RIGHT_Y = [0, 0, -1, -1];
const LEFT_X = [0, 0, -1, -1];
const LEFT_Y = [-1, 0, 0, -1];

// Return the outlines of a region, holes too, as a path in pixels of the picture: along the borders of its pixels, but
// from the middle of one border to the middle of the next, so that slopes are no stairs.
export function outline(region) {
  const path = new Path2D();
  const { width, height, stride, bits } = region;
  const inside = (x, y) => bits[(y + 1) * stride + x + 1];
  const seen = new Uint8Array(width * height); // pixels from whose upper border a way has led to the right

  function trace(startX, startY) {
    let [x, y, direction, before] = [startX, startY, 0, -1];
    let first = true;
    do {
      if (direction === 0) seen[y * width + x] = 1;
      const middle = [x + STEP_X[direction] / 2, y + STEP_Y[direction] / 2];
      x += STEP_X[direction];
      y += STEP_Y[direction];
      let next = direction;
      if (!inside(x + RIGHT_X[direction], y + RIGHT_Y[direction])) next = (direction + 1) % 4;
      else if (inside(x + LEFT_X[direction], y + LEFT_Y[direction])) next = (direction + 3) % 4;
      if (next !== direction || before !== direction) {
        const point = [(region.left + middle[0]) * region.step, (region.top + middle[1]) * region.step];
        first ? path.moveTo(...point) : path.lineTo(...point);
        first = false;
      }
      before = direction;
      direction = next;
    } while (x !== startX || y !== startY || direction !== 0);
    path.closePath();
  }

  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) if (inside(x, y) && !inside(x, y - 1) && !seen[y * width + x]) trace(x, y);
  return path;
}
