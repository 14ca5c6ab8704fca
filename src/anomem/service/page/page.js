// The page of the service: images in, score, verdict, heat map and normal places out.
const at = id => document.getElementById(id);
const rows = [];  // of this session, the latest first
const moved = {};  // thresholds that the slider has given models
let models = [], shown = null, stream = null, line = Promise.resolve();

const make = (tag, text = "", more = {}) => Object.assign(document.createElement(tag), { textContent: text, ...more });
const drawn = (kind, more, text = "") => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(more)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
};
const threshold = name => moved[name] ?? models.find(each => each.model === name)?.threshold ?? 0;
const verdict = row => row.error ? "unreadable" : row.score > threshold(row.model) ? "anomalous" : "normal";

async function ask(path, options = {}) {
  const token = sessionStorage.getItem("token");
  if (token) options.headers = { ...options.headers, Authorization: `Bearer ${token}` };
  const answer = await fetch(path, options).catch(() => { throw new Error("The service does not answer."); });
  const told = await answer.json().catch(() => ({ error: `The service failed (${answer.status}).` }));
  at("login").hidden = answer.status !== 401;
  if (answer.status === 429) {
    await new Promise(done => setTimeout(done, 1000 * Number(answer.headers.get("Retry-After"))));
    return ask(path, options);
  }
  if (!answer.ok) throw new Error(told.error);
  return told;
}

async function begin() {
  try {
    models = (await ask("v1/models")).models;
    at("model").replaceChildren(...models.map(each => make("option", each.model)));
    at("choice").hidden = models.length < 2;
    at("message").textContent = "";
    choose();
  } catch (error) {
    at("message").textContent = error.message;
  }
}

// The slider is of the model that is chosen.
function choose() {
  const own = threshold(at("model").value);
  const scores = rows.filter(row => row.model === at("model").value).map(row => row.score).filter(Number.isFinite);
  at("threshold").min = Math.floor(Math.min(own - 3, ...scores));
  at("threshold").max = Math.ceil(Math.max(own + 3, ...scores));
  at("threshold").value = own;
  redraw();
}

function reset() {
  delete moved[at("model").value];
  choose();
}

// One image at a time, in the order they came.
function look(files) {
  for (const file of files) line = line.then(() => lookAt(file));
  return line;
}

async function lookAt(file) {
  at("message").textContent = `Looking at ${file.name}...`;
  const row = { name: file.name, model: at("model").value, time: new Date().toISOString() };
  try {
    const told = await ask(`v1/explain?${new URLSearchParams({ model: row.model, name: file.name })}`, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
    Object.assign(row, { score: told.image.score, p: told.image.p_value, told });
    at("message").textContent = "";
  } catch (error) {
    row.error = error.message.startsWith(`${file.name}: `) ? error.message.slice(file.name.length + 2) : error.message;
    at("message").textContent = `${file.name}: ${row.error}`;
  }
  rows.unshift(row);
  choose();
  show(row.error ? shown : row);
}

function show(row) {
  shown = row;
  at("result").hidden = !row;
  if (row) {
    const { told } = row, { width, height } = told;
    at("picture").src = told.picture;
    at("picture").alt = `The image ${row.name}`;
    at("heat").src = told.heat;
    at("boxes").setAttribute("viewBox", `0 0 ${width} ${height}`);
    at("boxes").replaceChildren(...told.places.slice(0, 3).flatMap(({ box }, index) => [
      drawn("rect", { x: box.left, y: box.top, width: box.width, height: box.height }),
      drawn("text", { x: box.left, y: box.top, dx: ".3em", dy: "1.1em", "font-size": Math.max(width, height) / 22 }, index + 1),
    ]));
    at("places").parentElement.hidden = !told.places.length;
    at("places").replaceChildren(...told.places.slice(0, 3).map(place => {
      const of = place.normal ? `most like ${place.normal}` : "most like an image labelled normal";
      const item = make("li", `${place.distance.toFixed(1)} times as far from normal places as usual, found by ${place.scale}; ${of}`);
      if (place.normal_picture) item.append(make("img", "", { src: place.normal_picture, alt: `The normal place it is most like, of ${place.normal}` }));
      return item;
    }));
  }
  redraw();
}

function redraw() {
  at("at").textContent = threshold(at("model").value).toFixed(2);
  at("heat").style.opacity = at("opacity").value / 100;
  at("download").disabled = !rows.length;
  if (shown) {
    const called = verdict(shown), share = (100 * shown.p).toPrecision(2);
    at("verdict").textContent = called === "normal" ? "Normal" : "Anomalous";
    at("verdict").className = called;
    at("words").textContent = `${shown.name}: score ${shown.score.toFixed(2)}, threshold ${threshold(shown.model).toFixed(2)}; ` +
      `p-value ${shown.p.toPrecision(2)}: of normal images at most ${share} in 100 look as unusual.`;
  }
  at("rows").replaceChildren(...rows.map(row => {
    const line = make("tr"), name = make("td"), called = verdict(row);
    if (row === shown) line.setAttribute("aria-current", "true");
    if (row.error) name.textContent = row.name;
    else name.append(make("button", row.name, { type: "button", onclick: () => show(row) }));
    if (row.error) line.append(name, make("td", row.error, { className: called, colSpan: 3 }));
    else line.append(name, make("td", row.score.toFixed(2)), make("td", row.p.toPrecision(2)), make("td", called, { className: called }));
    return line;
  }));
}

const field = value => {
  let text = String(value ?? "");
  if (typeof value === "string" && /^[=+@\uff1d\uff0b\uff0d\uff20-]/.test(text)) text = `./${text}`;  // or a spreadsheet computes it
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

export function table() {
  const header = ["time", "image", "model", "score", "p_value", "threshold", "verdict", "error"];
  const lines = rows.toReversed().map(row => [row.time, row.name, row.model, row.score, row.p, threshold(row.model), verdict(row), row.error]);
  return [header, ...lines].map(line => line.map(field).join(",") + "\r\n").join("");
}

function download() {
  const link = make("a", "", { href: URL.createObjectURL(new Blob([table()], { type: "text/csv" })), download: "anomem-session.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function camera() {
  const on = !stream;
  stream?.getTracks().forEach(track => track.stop());
  stream = null;
  if (on) {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      at("message").textContent = "";
    } catch {
      at("message").textContent = "There is no camera, or this page may not use it; browsers allow it on this machine and by HTTPS alone.";
    }
  }
  at("video").srcObject = stream;
  at("live").hidden = !stream;
  at("camera").setAttribute("aria-expanded", String(Boolean(stream)));
}

async function shoot() {
  const video = at("video"), canvas = make("canvas", "", { width: video.videoWidth, height: video.videoHeight });
  if (!canvas.width) return;
  canvas.getContext("2d").drawImage(video, 0, 0);
  const taken = await new Promise(done => canvas.toBlob(done, "image/png"));
  look([new File([taken], `camera-${rows.length + 1}.png`)]);
}

for (const name of ["dragover", "dragleave", "drop"]) document.addEventListener(name, event => {
  event.preventDefault();
  at("drop").classList.toggle("over", name === "dragover");
  if (name === "drop") look(event.dataTransfer.files);
});
document.addEventListener("paste", event => look(event.clipboardData.files));
at("choose").addEventListener("click", () => at("files").click());
at("files").addEventListener("change", () => { look([...at("files").files]); at("files").value = ""; });
at("camera").addEventListener("click", camera);
at("shoot").addEventListener("click", shoot);
at("opacity").addEventListener("input", redraw);
at("threshold").addEventListener("input", () => { moved[at("model").value] = Number(at("threshold").value); redraw(); });
at("reset").addEventListener("click", reset);
at("model").addEventListener("change", choose);
at("download").addEventListener("click", download);
at("login").addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem("token", at("token").value);
  begin();
});
begin();
