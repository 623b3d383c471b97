"""Modality generators by name. A user's own generator needs no entry here: its dotted path is its name."""

GENERATORS = {
    "audio-diffusion": "polymodal.parts.generators.audio_diffusion.AudioDiffusion",
    "diffusion": "polymodal.parts.generators.diffusion.ImageDiffusion",
    "video-diffusion": "polymodal.parts.generators.video_diffusion.VideoDiffusion",
    "vq": "polymodal.parts.generators.vq.VQ",
    "fsq": "polymodal.parts.generators.fsq.FSQ",
    "autoencoder": "polymodal.parts.generators.autoencoder.Autoencoder",
    "patches": "polymodal.parts.generators.patches.Patches",
    "latent-speech": "polymodal.parts.generators.latent_speech.LatentSpeech",
    "voice": "polymodal.parts.generators.voice.Voice",
    "frames": "polymodal.parts.generators.frames.FrameCodec",
    "encodec": "polymodal.parts.generators.encodec.EncodecAudio",
    "retrieval": "polymodal.parts.generators.retrieval.Retrieval",
    "feature-decoder": "polymodal.parts.generators.image_features.FeatureDecoder",
    "prompted": "polymodal.parts.generators.prompted.Prompted",
}
