// Files for the user: records as JSON, masks as PNG files in a ZIP. All are made here; the server keeps nothing.

import { eachRun } from "./masks.js";

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Return COCO result records that also name the file and the class, as scripts/predict.py writes them.
export function recordsBlob(objects, fileName) {
  const records = objects.map((object) => ({ file_name: fileName, category_name: object.name, ...object.record }));
  return new Blob([JSON.stringify(records, null, 1) + "\n"], { type: "application/json" });
}

// Return a ZIP with one PNG of the picture's size for each object, white on black, under the names of scripts/predict.py.
export async function masksBlob(objects, stem) {
  const files = [];
  for (const [index, object] of objects.entries()) {
    const label = object.name.replace(/[^\p{L}\p{N}]/gu, "_");
    const name = `${stem}_${String(index).padStart(3, "0")}_${label}.png`;
    files.push({ name, content: await maskPng(object) });
  }
  return zip(files);
}

async function maskPng({ lengths, record }) {
  const [height, width] = record.segmentation.size;
  const stride = 1 + Math.ceil(width / 8); // each row begins with the number of its filter, 0
  const rows = new Uint8Array(stride * height);
  eachRun(lengths, height, (x, top, bottom) => {
    const bit = 128 >> x % 8;
    for (let at = top * stride + 1 + (x >> 3); top < bottom; top++, at += stride) rows[at] |= bit;
  });
  const deflated = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const header = new Uint8Array([...big(width), ...big(height), 1, 0, 0, 0, 0]); // one bit a pixel, gray
  const parts = [
    new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]),
    ...chunk("IHDR", header),
    ...chunk("IDAT", new Uint8Array(await new Response(deflated).arrayBuffer())),
    ...chunk("IEND", new Uint8Array()),
  ];
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

function chunk(kind, content) {
  const named = new Uint8Array(4 + content.length);
  named.set(new TextEncoder().encode(kind));
  named.set(content, 4);
  return [new Uint8Array(big(content.length)), named, new Uint8Array(big(checksum(named)))];
}

// Pack files as they are; PNG is compressed already.
function zip(files) {
  const [parts, directory] = [[], []];
  let offset = 0;
  for (const { name, content } of files) {
    const encoded = new TextEncoder().encode(name);
    // Version 2.0, names in UTF-8, not compressed, 1 January 1980.
    const facts = [...little(20, 2), ...little(0x800, 2), ...little(0, 2), ...little(0, 2), ...little(33, 2),
      ...little(checksum(content), 4), ...little(content.length, 4), ...little(content.length, 4),
      ...little(encoded.length, 2), ...little(0, 2)];
    parts.push(new Uint8Array([80, 75, 3, 4, ...facts]), encoded, content);
    directory.push(
      new Uint8Array([80, 75, 1, 2, ...little(20, 2), ...facts, ...Array(10).fill(0), ...little(offset, 4)]),
      encoded,
    );
    offset += 30 + encoded.length + content.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = little(files.length, 2);
  const end = [80, 75, 5, 6, 0, 0, 0, 0, ...count, ...count, ...little(size, 4), ...little(offset, 4), 0, 0];
  return new Blob([...parts, ...directory, new Uint8Array(end)], { type: "application/zip" });
}

const little = (value, length) => Array.from({ length }, (_, at) => (value >>> (8 * at)) & 255);
const big = (value) => little(value, 4).reverse();

const TABLE = Uint32Array.from({ length: 256 }, (_, number) => {
  for (let bit = 0; bit < 8; bit++) number = number & 1 ? 0xedb88320 ^ (number >>> 1) : number >>> 1;
  return number;
});

// CRC-32, as PNG and ZIP want it.
function checksum(bytes) {
  let value = -1;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ -1) >>> 0;
}
