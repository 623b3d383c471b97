// What stands on the page. Decides that all of it is made of text nodes and known elements: nothing that a model says is markup.

export const at = (id) => document.getElementById(id);

export function made(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** A turn at the end of the conversation, `busy` while it is written: a screen reader then waits for all of it. */
export function turn(role, busy = false) {
  const said = role === "user" ? "You" : "Model";
  const article = made("article", { className: `turn ${role}` }, made("h3", { textContent: said }));
  article.setAttribute("aria-busy", String(busy));
  at("turns").append(article);
  return article;
}

/** Add a piece of text to a turn: to the paragraph that is being written, or to a new one behind a medium. */
export function write(article, text) {
  const last = article.lastElementChild;
  const paragraph = last.tagName === "P" ? last : made("p");
  if (paragraph !== last) article.append(paragraph);
  paragraph.append(text);
  follow();
}

/** Add a content part to a turn. */
export function show(article, part) {
  const shown = figure(part);
  article.append(shown);
  const medium = shown.querySelector("img, video"); // has no height before it is loaded
  medium?.addEventListener(medium.tagName === "IMG" ? "load" : "loadeddata", follow, { once: true });
  follow();
}

/** A player or a picture of a content part; only data that came with it is ever loaded. */
export function figure(part) {
  const kind = { image_url: "image", input_audio: "audio", video_url: "video" }[part.type] ?? part.type;
  const caption = part.failed ? `Nothing was made: ${part.failed}` : part.caption;
  const children = [];
  const url = part.input_audio ? `data:audio/${part.input_audio.format ?? "wav"};base64,${part.input_audio.data}`
    : (part.image_url ?? part.video_url)?.url ?? "";
  if (url.startsWith(`data:${kind}/`)) children.push(player(kind, url, caption));
  else if (!part.failed) children.push(`[${kind}]`);
  if (caption) children.push(made("figcaption", { textContent: caption }));
  return made("figure", {}, ...children);
}

export function player(kind, url, caption) {
  if (kind === "image") return made("img", { src: url, alt: caption ?? "a picture" });
  const element = made(kind, { src: url, controls: true, preload: "auto" });
  if (kind === "video") Object.assign(element, { loop: true, muted: true, playsInline: true });
  element.setAttribute("aria-label", caption ?? (kind === "audio" ? "a recording" : "a clip"));
  return element;
}

/** What is attached, each with a button that takes it away again. */
export function tray(items, remove) {
  at("tray").replaceChildren(...items.map((item, number) => {
    const away = made("button", { type: "button", textContent: "✕", onclick: () => remove(number) });
    away.setAttribute("aria-label", `Remove ${item.name}`);
    const seen = ["image", "audio", "video"].includes(item.kind) ? player(item.kind, item.url, item.name) : item.name;
    return made("li", {}, seen, away);
  }));
}

export function status(text) {
  at("status").textContent = text;
}

export function problem(text) {
  at("problem").textContent = text;
}

function follow() {
  const main = document.querySelector("main");
  if (main.scrollHeight - main.scrollTop - main.clientHeight < 400) main.scrollTop = main.scrollHeight;
}
