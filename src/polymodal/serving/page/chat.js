// The chat page. Decides what a conversation is: messages as the API takes them, kept in this page and nowhere else.

import { draw } from "./five.js";
import { opened, recording } from "./media.js";
import { events } from "./sse.js";
import { at, made, problem, show, status, tray, turn, write } from "./view.js";

const EXAMPLES = [ // [what the model must take, make, words, file in the page]
  ["image", null, "What kind of thing is this?", "cat.jpg"],
  ["audio", null, "Repeat what you hear.", "sentence.flac"],
  [null, null, "What is the capital of France?"],
  [null, "image", "Draw a red heart."],
  [null, "audio", "Say good morning."],
  [null, "video", "Show me a spinning star."],
];

let model = null, key = "", messages = [], attached = [], leave = null, running = null;

async function call(path, options = {}) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const reply = await fetch(path, { ...options, headers });
  if (reply.ok) return reply;
  const said = await reply.json().then((body) => body.error?.message, () => null);
  if (reply.status === 401) askForKey();
  const after = reply.headers.get("Retry-After");
  throw new Error((said ?? `The server answered ${reply.status}.`) + (after ? ` Try again in ${after} s.` : ""));
}

function askForKey() {
  at("door").hidden = false;
  at("key").focus();
}

async function begin() {
  try {
    model = (await (await call("/v1/models")).json()).data[0];
  } catch (error) {
    problem(error.message);
    return;
  }
  problem("");
  at("door").hidden = true;
  at("model").textContent = model.id;
  at("about").hidden = !model.parts;
  if (model.parts) at("five").replaceChildren(draw(model.parts));
  const takes = kinds();
  at("record-audio").hidden = !takes.includes("audio");
  at("record-video").hidden = !takes.includes("video");
  at("attach").hidden = !takes.length;
  const also = { points: ".ply", audio: "audio/*,.flac,.opus,.m4a" };
  at("files").accept = takes.map((kind) => also[kind] ?? `${kind}/*`).join(",");
  const fits = ([takes, makes]) => (!takes || kinds().includes(takes)) && (!makes || (model.outputs ?? []).includes(makes));
  at("examples").replaceChildren(...EXAMPLES.filter(fits).map(example));
  status("Ready.");
}

/** What can be attached: of senses without a file that a browser knows, none. */
function kinds() {
  return (model?.inputs ?? ["image", "audio", "video"]).filter((kind) => ["image", "audio", "video", "points"].includes(kind));
}

function example([, , words, file]) {
  const button = made("button", { type: "button" });
  if (file?.endsWith(".jpg")) button.append(made("img", { src: `/page/${file}`, alt: "a picture of a cat" }));
  if (file?.endsWith(".flac")) button.append(made("img", { src: "/page/sound.svg", alt: "a recording of a voice" }));
  button.append(made("span", { textContent: words }));
  button.onclick = async () => {
    if (leave) return;
    if (file) {
      const data = await (await fetch(`/page/${file}`)).blob();
      if (!(await attach([new File([data], file, { type: data.type })]))) return;
    }
    at("words").value = words;
    await send();
  };
  return button;
}

async function attach(files) {
  problem("");
  for (const file of files) {
    try {
      attached.push(await opened(file, kinds()));
      status(`${file.name} is attached.`);
    } catch (error) {
      problem(error.message);
      return false;
    } finally {
      tray(attached, remove);
    }
  }
  return true;
}

function remove(number) {
  const [gone] = attached.splice(number, 1);
  tray(attached, remove);
  status(`${gone.name} was removed.`);
  at("words").focus();
}

async function send() {
  const words = at("words").value.trim();
  if (leave || !model || (!words && !attached.length)) return;
  const taken = attached;
  const content = [...taken.map((item) => item.part), ...(words ? [{ type: "text", text: words }] : [])];
  messages.push({ role: "user", content });
  const mine = turn("user");
  content.forEach((part) => (part.type === "text" ? write(mine, part.text) : show(mine, part)));
  attached = [];
  tray(attached, remove);
  at("words").value = "";
  at("begin").hidden = true;
  const article = turn("assistant", true), said = [];
  busy(new AbortController());
  try {
    await answer(article, said);
    status("The answer is complete.");
  } catch (error) {
    if (error.name === "AbortError") status("The answer was stopped.");
    else {
      problem(error.message);
      status("");
    }
    if (!said.length) { // nothing was answered: as if it had not been asked
      messages.pop();
      mine.remove();
      article.remove();
      at("words").value = words;
      attached = [...taken, ...attached];
      tray(attached, remove);
    }
  } finally {
    article.setAttribute("aria-busy", "false");
    busy(null);
  }
  if (said.length) {
    const plain = said.every((part) => part.type === "text");
    messages.push({ role: "assistant", content: plain ? said.map((part) => part.text).join("") : said });
  }
  if (at("door").hidden) at("words").focus();
}

function busy(controller) {
  leave = controller;
  at("stop").hidden = !controller;
  at("send").disabled = Boolean(controller);
  if (controller) {
    problem("");
    status("The model is answering.");
  }
}

/** Stream one answer into a turn, and its content parts into `said`. */
async function answer(article, said) {
  const asked = { model: model.id, messages, stream: true, temperature: Number(at("temperature").value) };
  if (at("tokens").value) asked.max_tokens = Number(at("tokens").value);
  if (at("seed").value) asked.seed = Number(at("seed").value);
  const reply = await call("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(asked),
    signal: leave.signal,
  });
  for await (const event of events(reply.body)) {
    if (event.error) throw new Error(event.error.message);
    const delta = event.choices?.[0]?.delta ?? {};
    if (delta.content) {
      const last = said.at(-1);
      if (last?.type === "text") last.text += delta.content;
      else said.push({ type: "text", text: delta.content });
      write(article, delta.content);
    }
    for (const part of delta.content_parts ?? []) {
      said.push(part);
      show(article, part);
    }
  }
  if (!said.length) {
    said.push({ type: "text", text: "" });
    write(article, "(an empty answer)");
  }
}

async function record(kind) {
  const button = at(`record-${kind}`), name = button.textContent;
  if (running) {
    running.stop();
    return;
  }
  problem("");
  const preview = kind === "video" ? at("preview") : null;
  try {
    if (preview) preview.hidden = false;
    running = await recording(kind, preview);
    button.setAttribute("aria-pressed", "true");
    button.textContent = "Stop recording";
    status("Recording.");
    await attach([await running.done]);
  } catch (error) {
    problem(error.name === "NotAllowedError" ? "The browser does not let this page record." : error.message);
  } finally {
    running = null;
    if (preview) preview.hidden = true;
    button.setAttribute("aria-pressed", "false");
    button.textContent = name;
  }
}

at("ask").onsubmit = (event) => {
  event.preventDefault();
  send();
};
at("door").onsubmit = (event) => {
  event.preventDefault();
  key = at("key").value.trim();
  begin();
};
at("words").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
};
at("stop").onclick = () => leave?.abort();
at("attach").onclick = () => at("files").click();
at("files").onchange = async () => {
  await attach([...at("files").files]);
  at("files").value = "";
};
at("record-audio").onclick = () => record("audio");
at("record-video").onclick = () => record("video");
at("new").onclick = () => {
  leave?.abort();
  messages = [];
  at("turns").replaceChildren();
  at("begin").hidden = false;
  status("A new conversation.");
  at("words").focus();
};
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add("over");
};
document.ondragleave = (event) => event.relatedTarget ?? document.body.classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  attach([...event.dataTransfer.files]);
};
document.onpaste = (event) => {
  if (event.clipboardData.files.length) {
    event.preventDefault();
    attach([...event.clipboardData.files]);
  }
};
begin();
