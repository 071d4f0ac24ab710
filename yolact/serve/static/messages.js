// What the page tells besides results: that it is busy, and what went wrong.

const byId = (id) => document.getElementById(id);

export function busy(on) {
  byId("progress").hidden = !on;
  byId("stage").setAttribute("aria-busy", on);
}

// Show a sentence until the user closes it; null takes it away.
export function complain(sentence) {
  byId("trouble").hidden = !sentence;
  byId("trouble").firstChild.textContent = sentence ?? "";
}
