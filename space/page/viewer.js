// The viewer: one large picture that is scrubbed from noise to mask. Its value is made by viewer.py.
const $ = (name) => element.querySelector(".lv-" + name);
const canvases = [...element.querySelectorAll(".lv-stage canvas")];
const [scrub, opacity, both] = ["scrub", "opacity", "both"].map($);
const state = { at: 0, frame: 0, words: [], key: null, timer: null, drawn: 0 };
const decoded = new Map();

const decode = (uri) => {  // data URI -> {w, h, data: RGBA}
  if (!decoded.has(uri)) {
    if (decoded.size > 200) decoded.clear();
    decoded.set(uri, (async () => {
      const image = new Image();
      image.src = uri;
      await image.decode();
      const made = document.createElement("canvas");
      [made.width, made.height] = [image.naturalWidth, image.naturalHeight];
      const context = made.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      return { w: made.width, h: made.height, image, data: context.getImageData(0, 0, made.width, made.height).data };
    })());
  }
  return decoded.get(uri);
};
const paint = (context, w, h, fill) => {  // RGBA from fill(i, out, o), enlarged over the canvas
  const small = document.createElement("canvas");
  [small.width, small.height] = [w, h];
  const made = small.getContext("2d"), pixels = made.createImageData(w, h);
  for (let i = 0; i < w * h; i++) fill(i, pixels.data, 4 * i);
  made.putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(small, 0, 0, context.canvas.width, context.canvas.height);
};
const put = (out, o, colour, alpha) => { [out[o], out[o + 1], out[o + 2]] = colour; out[o + 3] = alpha; };

const layers = {
  levels(context, sheet, row, colour, strength) {  // one row of a sheet of maps on the fixed scale
    const h = sheet.h / sheet.rows, start = row * h * sheet.w;
    paint(context, sheet.w, h, (i, out, o) => put(out, o, colour, sheet.data[4 * (start + i)] * strength));
  },
  label(context, label, classes, strength) {  // class ids, filled, with a solid border
    const { w, h, data } = label, at = (x, y) => data[4 * (y * w + x)];
    const colours = Object.fromEntries(classes.map((one) => [one.id, one.colour]));
    paint(context, w, h, (i, out, o) => {
      const id = data[4 * i], x = i % w, y = (i - x) / w;
      if (id === 255) { if ((x + y) % 4 < 2) put(out, o, [160, 160, 160], 255); return; }
      if (!colours[id]) return;
      const border = x === 0 || y === 0 || x === w - 1 || y === h - 1 ||
        at(x - 1, y) !== id || at(x + 1, y) !== id || at(x, y - 1) !== id || at(x, y + 1) !== id;
      put(out, o, colours[id], border ? 255 : 153 * strength);
    });
  },
};
const item = () => (props.value?.items || [])[state.at];

async function picture(canvas, one, frame, word) {
  const base = await decode(frame.image || one.image), strength = Number(opacity.value);
  const label = frame.label && await decode(frame.label), sheet = frame.sheet && await decode(frame.sheet);
  if (one !== item()) return;
  [canvas.width, canvas.height] = one.size;
  const context = canvas.getContext("2d");
  context.drawImage(base.image, 0, 0, ...one.size);
  const named = one.words[word];
  let said = `${frame.alt || one.alt} ${frame.title}.`;
  if (sheet && frame.soft) one.classes.forEach((c, row) => layers.levels(context, { ...sheet, rows: one.classes.length }, row, c.colour, strength));
  else if (sheet && named) {
    if (frame.place[word]) layers.levels(context, { ...sheet, rows: one.words.length }, word, named.colour, strength);
    said += frame.place[word] ? ` With where “${named.word}” looks.` : ` “${named.word}” shows no place.`;
  }
  if (label) layers.label(context, label, one.classes, strength);
  if (canvas.hasAttribute("role")) canvas.setAttribute("aria-label", said.trim());
}
const swatch = (colour) => `<span class="ls-swatch" style="background:rgb(${colour})"></span>`;
const plain = (text) => { const p = document.createElement("p"); p.textContent = text; return p.innerHTML; };

function legend(one, frame) {
  if (frame.sheet && !frame.soft) return state.words.map((word) => {
    const { word: name, told, colour } = one.words[word];
    const where = frame.place[word]
      ? `${swatch(colour)}Coloured where “${plain(name)}” gets more attention than the words of the prompt get on average. The scale is the same for every word and picture.`
      : `<strong>“${plain(name)}”: no place.</strong> It gets attention where all words do, so nothing is coloured.`;
    return `<p>${where} ${plain(told)}</p>`;
  }).join("") || (one.words.length ? "" : "<p>No word has a map.</p>");
  return frame.label || frame.soft
    ? `<p>${one.classes.map((c) => `<span>${swatch(c.colour)}${plain(c.name)}</span>`).join(" ")}</p>` : "";
}
function show() {
  const one = item();
  if (!one) return;
  const frame = one.frames[state.frame], two = both.checked && state.words.length > 1 && frame.sheet && !frame.soft;
  scrub.max = one.frames.length - 1;
  scrub.value = state.frame;
  scrub.setAttribute("aria-valuetext", `${frame.title}. ${frame.note}`);
  $("note").innerHTML = `<strong>${plain(frame.title)}</strong> ${plain(frame.note)}`;
  $("legend").innerHTML = legend(one, frame);
  element.querySelectorAll(".lv-stops button").forEach((b) => b.setAttribute("aria-current", b.dataset.group === frame.group ? "step" : "false"));
  element.querySelectorAll(".lv-words button").forEach((b) => b.setAttribute("aria-pressed", state.words.includes(Number(b.dataset.n))));
  element.querySelectorAll(".lv-thumbs button").forEach((b) => b.setAttribute("aria-pressed", Number(b.dataset.n) === state.at));
  canvases[1].hidden = !two;
  $("stage").classList.toggle("lv-two", Boolean(two));
  element.querySelectorAll(".lv-stops button").forEach((b) => {
    const own = b.dataset.group === frame.group ? frame : one.frames.find((f) => f.group === b.dataset.group);
    picture(b.firstElementChild, one, own, state.words[0]);
  });
  picture(canvases[0], one, frame, state.words[0]);
  if (two) picture(canvases[1], one, frame, state.words[1]);
}
function build() {  // the parts that follow the item
  const one = item();
  if (!one) return;
  $("stops").hidden = one.frames.length < 2;
  $("stops").innerHTML = [...new Set(one.frames.map((f) => f.group))].map((name) => `<button type="button" data-group="${plain(name)}"><canvas aria-hidden="true"></canvas><span>${plain(name)}</span></button>`).join("");
  $("words").innerHTML = one.words.map((w, n) => `<button type="button" data-n="${n}" aria-pressed="false">${plain(w.word)}</button>`).join("");
  for (const name of ["words", "pair"]) $(name).hidden = one.words.length < (name === "pair" ? 2 : 1);
  $("bar").hidden = one.frames.length < 2;
  const items = props.value.items;
  $("thumbs").hidden = items.length < 2;
  $("thumbs").innerHTML = items.map((i, n) => `<button type="button" data-n="${n}" aria-label="${plain(i.caption).replaceAll('"', "")}"><img src="${i.thumb || i.image}" alt=""><span>${plain(i.caption)}</span></button>`).join("");
  $("rules").hidden = !one.rules;
  if (!one.rules?.length) $("rules").open = false;  // opening it asks for those of this mask
  $("rules-row").innerHTML = (one.rules || []).map((r) => `<figure><canvas role="img"></canvas><figcaption>${plain(r.name)}</figcaption></figure>`).join("");
  element.querySelectorAll(".lv-rules-row canvas").forEach((canvas, n) => picture(canvas, one, { label: one.rules[n].label, title: `Mask by ${one.rules[n].name}`, note: "" }, -1));
}
function take() {  // a new value: stay at the word, and at the stage while it is the same picture
  const value = props.value;
  if (!value?.items?.length) return;
  const before = state.name;
  state.at = Math.min(value.at ?? (value.key === state.key ? state.at : 0), value.items.length - 1);
  const one = item(), at = one.frames.findIndex((f) => f.title === before);
  state.frame = value.key === state.key && at >= 0 ? at : one.start;
  state.key = value.key;
  const kept = (state.chosen || []).map((w) => one.words.findIndex((x) => x.word === w)).filter((n) => n >= 0);
  state.words = kept.length ? kept : one.words.length ? [Math.max(0, one.words.findIndex((x) => x.word === one.word))] : [];
  build(); show();
}
function go(frame) { state.frame = Number(frame); state.name = item().frames[state.frame].title; show(); }
function stop() { clearInterval(state.timer); state.timer = null; $("play").textContent = "▶ Play"; }

scrub.addEventListener("input", () => { stop(); go(scrub.value); });
opacity.addEventListener("input", show);
both.addEventListener("change", () => {
  const words = item().words.length;
  state.words = both.checked ? [state.words[0], (state.words[0] + 1) % words] : state.words.slice(0, 1);
  show();
});
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || !item()) return;
  const n = Number(button.dataset.n), where = button.parentElement.className;
  if (button === $("play")) {
    if (state.timer) return stop();
    if (state.frame === item().frames.length - 1) state.frame = -1;
    button.textContent = "❚❚ Pause";
    state.timer = setInterval(() => state.frame + 1 < item().frames.length ? go(state.frame + 1) : stop(), 450);
  } else if (where.includes("lv-stops")) { stop(); go(item().frames.findIndex((f) => f.group === button.dataset.group)); }
  else if (where.includes("lv-words")) {
    state.words = both.checked ? [...new Set([state.words[1] ?? state.words[0], n])] : [n];
    state.chosen = state.words.map((w) => item().words[w].word);
    const { frames, start } = item(), looks = frames.findIndex((f) => f.group === "Words");
    if (!frames[state.frame].sheet || frames[state.frame].soft) go(looks < 0 ? start : looks);
    else show();
  } else if (where.includes("lv-thumbs")) {
    stop();
    state.at = n; state.frame = item().start; state.words = [Math.max(0, item().words.findIndex((x) => x.word === item().word))];
    build(); show();
    trigger("select", { index: n });
  }
});
$("rules").addEventListener("toggle", () => {
  if ($("rules").open && !item().rules.length) trigger("expand");
});
watch("value", take);
take();
