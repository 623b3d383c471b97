// Server-sent events of a fetch. Decides that an event is complete at an empty line, wherever the network cut the bytes.

/** The JSON values of `data:` lines in a stream of bytes, up to `[DONE]`. */
export async function* events(body) {
  const reader = body.getReader(), decoder = new TextDecoder();
  let held = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      held += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const whole = held.split(/\r?\n\r?\n/);
      held = whole.pop();
      for (const event of whole) {
        const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
        if (!data.length) continue;
        if (data.join("\n") === "[DONE]") return;
        yield JSON.parse(data.join("\n"));
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {}); // it was aborted, or has ended already
  }
}
