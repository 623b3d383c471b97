"""Modality generators by name. A user's own generator needs no entry here: its dotted path is its name."""

GENERATORS = {
    "audio-diffusion": "polymodal.parts.generators.audio_diffusion.AudioDiffusion",
    "diffusion": "polymodal.parts.generators.diffusion.ImageDiffusion",
    "latent-speech": "polymodal.parts.generators.latent_speech.LatentSpeech",
    "video-diffusion": "polymodal.parts.generators.video_diffusion.VideoDiffusion",
    "voice": "polymodal.parts.generators.voice.Voice",
}
