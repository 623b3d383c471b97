// The five parts of a model as a picture. Decides its shape: a row for each input and output, the backbone between them.

const SVG = "http://www.w3.org/2000/svg";
const HEADS = [["encoder", 170, "Encoder"], ["projector", 320, "Input projector"], ["backbone", 480, "LLM"],
  ["output", 640, "Output projector"], ["generator", 790, "Generator"]];
const ROW = 38, TOP = 34, WIDE = 132;

/** An `<svg>` of what `/v1/models` says of the parts. */
export function draw({ inputs, backbone, outputs }) {
  const rows = Math.max(inputs.length, outputs.length, 2), height = TOP + rows * ROW + 8, middle = TOP + (rows * ROW) / 2;
  const svg = node("svg", { viewBox: `0 0 ${outputs.length ? 960 : 640} ${height}`, role: "img", "aria-labelledby": "five-title five-words" });
  svg.append(node("title", { id: "five-title" }, "The five parts of this model"), node("desc", { id: "five-words" }, words(
    { inputs, backbone, outputs })));
  for (const [, x, label] of HEADS.filter(([name]) => outputs.length || !["output", "generator"].includes(name)))
    svg.append(node("text", { x, y: 18, class: "name" }, label));
  const place = (index, count) => middle + (index - (count - 1) / 2) * ROW;
  inputs.forEach((input, i) => {
    const y = place(i, inputs.length);
    svg.append(
      node("text", { x: 92, y: y + 4, class: "in" }, input.modality), line(96, y, 104, y),
      box("encoder", 170, y, input.encoder), line(236, y, 254, y),
      box("projector", 320, y, input.projector), bend(386, y, 414, middle));
  });
  const tall = rows * ROW - 8;
  svg.append(
    node("rect", { x: 414, y: middle - tall / 2, width: WIDE, height: tall, rx: 10, class: "backbone" }),
    ...halves(backbone.kind).map((half, i, all) => node(
      "text", { x: 480, y: middle - 18 * (all.length - 1 - i), class: "inside name" }, short(half))),
    node("text", { x: 480, y: middle + 18, class: "inside" }, millions(backbone.parameters)));
  outputs.forEach((output, i) => {
    const y = place(i, outputs.length);
    svg.append(
      bend(546, middle, 574, y), box("output", 640, y, output.projector ?? output.span), line(706, y, 724, y),
      box("generator", 790, y, output.generator ?? "none"), line(856, y, 864, y),
      node("text", { x: 868, y: y + 4, class: "out" }, output.modality));
  });
  if (!outputs.length) svg.append(line(546, middle, 574, middle), node("text", { x: 580, y: middle + 4, class: "out" }, "text"));
  return svg;
}

/** The same in words, for who does not see it. */
export function words({ inputs, backbone, outputs }) {
  const reads = inputs.map((each) => `${each.modality} through ${each.encoder} and ${each.projector}`);
  const makes = outputs.map((each) => `${each.modality} through ${each.projector ?? each.span} and ${each.generator ?? "none"}`);
  const reading = reads.length ? ` It reads ${reads.join("; ")}.` : "";
  return `The backbone is ${backbone.kind}, ${millions(backbone.parameters)}.${reading} It answers in text${
    makes.length ? `, and makes ${makes.join("; ")}` : ""}.`;
}

function millions(count) {
  return count < 1e6 ? `${Math.round(count / 1e3)} k parameters` : `${Math.round(count / 1e6)} M parameters`;
}

/** A long name in two, at the hyphen that is nearest to its middle. */
function halves(text) {
  const places = [...text].flatMap((letter, i) => (letter === "-" ? [i + 1] : []));
  if (text.length < 17 || !places.length) return [text];
  const [best] = places.sort((a, b) => Math.abs(a - text.length / 2) - Math.abs(b - text.length / 2));
  return [text.slice(0, best), text.slice(best)];
}

function short(text) {
  return text.length > 17 ? `${text.slice(0, 16)}…` : text;
}

function box(kind, x, y, label) {
  const group = node("g", {});
  group.append(
    node("title", {}, label), node("rect", { x: x - WIDE / 2, y: y - 14, width: WIDE, height: 28, rx: 7, class: kind }),
    node("text", { x, y: y + 4, class: "inside" }, short(label)));
  return group;
}

function line(x, y, toX, toY) {
  return node("path", { d: `M${x} ${y} L${toX} ${toY}` });
}

function bend(x, y, toX, toY) {
  const half = (x + toX) / 2;
  return node("path", { d: `M${x} ${y} C${half} ${y} ${half} ${toY} ${toX} ${toY}` });
}

function node(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
