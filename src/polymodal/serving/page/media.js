// Files and recordings -> content parts. Decides what is converted here: sound always becomes a WAV of 16 kHz and one channel
// (browsers record Opus and play formats that the server does not take), pictures that the server does not take become PNG.
// Clips stay MP4 or WebM.

const RATE = 16000; // Hz: what encoders of recordings take
const LONGEST = 60; // seconds of a recording
const LONGEST_CLIP = 10;
const PICTURES = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const CLIPS = ["video/mp4", "video/webm"];

/** The bytes of a WAV file (16 bits, one channel) of samples from -1 to 1. */
export function wav(samples, rate = RATE) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const words = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  words(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  words(8, "WAVEfmt ");
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, rate, 4], [28, 2 * rate, 4], [32, 2, 2], [34, 16, 2]].forEach(
    ([at, value, size]) => (size === 4 ? view.setUint32(at, value, true) : view.setUint16(at, value, true)));
  words(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, i) => view.setInt16(44 + 2 * i, Math.round(Math.max(-1, Math.min(1, sample)) * 32767), true));
  return view.buffer;
}

/** A file as `{kind, name, url, part}`; throws an Error that names what cannot be attached. */
export async function opened(file, kinds) {
  const kind = kindOf(file);
  if (!kind) throw new Error(`${file.name}: this page takes pictures, recordings and clips.`);
  if (!kinds.includes(kind)) throw new Error(`${file.name}: this model takes no ${kind}; it takes ${kinds.join(", ")}.`);
  if (kind === "audio") return item(kind, file.name, await asWav(file));
  if (kind === "image") return item(kind, file.name, PICTURES.includes(file.type) ? file : await asPng(file));
  if (kind === "video" && !CLIPS.includes(base(file.type))) throw new Error(`${file.name}: clips are taken as MP4 or WebM.`);
  return item(kind, file.name, file);
}

function kindOf(file) {
  const kind = file.type.split("/")[0];
  if (["image", "audio", "video"].includes(kind)) return kind;
  return /\.ply$/i.test(file.name) ? "points" : /\.(flac|opus|m4a)$/i.test(file.name) ? "audio" : null;
}

async function item(kind, name, blob) {
  const url = await dataUri(blob);
  const data = url.slice(url.indexOf(",") + 1);
  const part = {
    image: { type: "image_url", image_url: { url } },
    audio: { type: "input_audio", input_audio: { data, format: "wav" } },
    video: { type: "video_url", video_url: { url } },
    points: { type: "points", media: { url } },
  }[kind];
  return { kind, name, url, part };
}

function dataUri(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(new Blob([blob], { type: base(blob.type) })); // without `;codecs=...`
  });
}

function base(type) {
  return type.split(";")[0];
}

async function asWav(file) {
  try {
    const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
    const mixed = new OfflineAudioContext(1, Math.max(1, sound.length), RATE); // the browser mixes the channels
    const source = mixed.createBufferSource();
    source.buffer = sound;
    source.connect(mixed.destination);
    source.start();
    return new Blob([wav((await mixed.startRendering()).getChannelData(0))], { type: "audio/wav" });
  } catch {
    throw new Error(`${file.name}: this browser cannot decode this recording.`);
  }
}

async function asPng(file) {
  const image = new Image(), url = URL.createObjectURL(file);
  try {
    image.src = url;
    await image.decode();
  } catch {
    throw new Error(`${file.name}: this browser cannot decode this picture.`);
  } finally {
    URL.revokeObjectURL(url);
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth || 512, image.naturalHeight || 512];
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Begin to record sound or video; gives `{stop, done}`: `done` is a file once `stop` is called or the time is over. */
export async function recording(kind, preview) {
  const wanted = kind === "audio" ? { audio: true } : { video: { width: 320, height: 240, frameRate: 15 } };
  if (!navigator.mediaDevices) throw new Error("A browser records only at localhost, 127.0.0.1 or by https.");
  const stream = await navigator.mediaDevices.getUserMedia(wanted);
  const release = () => stream.getTracks().forEach((track) => track.stop());
  try {
    const types = kind === "audio" ? ["audio/webm", "audio/mp4"] : ["video/webm;codecs=vp8", "video/webm", "video/mp4"];
    const type = types.find((each) => MediaRecorder.isTypeSupported(each));
    const recorder = new MediaRecorder(stream, { mimeType: type }), pieces = [];
    recorder.ondataavailable = (event) => pieces.push(event.data);
    const done = new Promise((resolve) => {
      recorder.onstop = () => {
        release();
        if (preview) preview.srcObject = null;
        const name = kind === "audio" ? "recording" : "clip";
        resolve(new File(pieces, name, { type: `${kind}/${base(recorder.mimeType).split("/")[1]}` }));
      };
    });
    if (preview && kind === "video") {
      preview.srcObject = stream;
      await preview.play();
    }
    recorder.start();
    const stop = () => recorder.state !== "inactive" && recorder.stop();
    setTimeout(stop, 1000 * (kind === "audio" ? LONGEST : LONGEST_CLIP));
    return { stop, done };
  } catch (error) {
    release();
    throw error;
  }
}
