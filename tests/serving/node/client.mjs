// OpenAI's client for Node against a server: what it was answered, as one line of JSON.
import { Buffer } from "node:buffer";
import OpenAI from "openai";

const [address, image, sound] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "none", maxRetries: 0 });
const model = "tiny";
const parts = [
  { type: "image_url", image_url: { url: `data:image/png;base64,${image}` } },
  { type: "input_audio", input_audio: { data: sound, format: "wav" } },
  { type: "text", text: "hello" },
];
const body = { model, messages: [{ role: "user", content: parts }], max_tokens: 8, temperature: 1, seed: 5, modalities: ["text"] };

const whole = await client.chat.completions.create(body);
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
const refusals = [];
for (const change of [{ model: "gpt" }, { messages: [] }, { tools: [{ type: "function", function: { name: "f" } }] }]) {
  try {
    await client.chat.completions.create({ ...body, ...change });
  } catch (error) {
    refusals.push([error.constructor.name, error.status, error.code]);
  }
}
const schema = { type: "array", items: { type: "boolean" }, maxItems: 3 };
const held = await client.chat.completions.create({
  ...body,
  max_tokens: 64,
  response_format: { type: "json_schema", json_schema: { name: "flags", schema } },
});
const drawn = await client.images.generate({ model, prompt: "a cat" });
const speech = await client.audio.speech.create({ model, voice: "alloy", input: "one two", response_format: "wav" });
const file = await OpenAI.toFile(Buffer.from(sound, "base64"), "a.wav");
const heard = await client.audio.transcriptions.create({ model, file });
const vectors = await client.embeddings.create({ model, input: ["a cat", "a dog"] });
const models = [];
for await (const each of client.models.list()) models.push(each.id);
console.log(
  JSON.stringify({
    text: whole.choices[0].message.content,
    streamed,
    refusals,
    held: JSON.parse(held.choices[0].message.content),
    picture: drawn.data[0].b64_json,
    speech: Buffer.from(await speech.arrayBuffer()).toString("base64"),
    heard: heard.text,
    vectors: vectors.data.map((each) => each.embedding.length),
    models,
  }),
);
