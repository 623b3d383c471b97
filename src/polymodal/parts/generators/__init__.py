"""Modality generators by name. A user's own generator needs no entry here: its dotted path is its name."""

GENERATORS = {
    "diffusion": "polymodal.parts.generators.diffusion.ImageDiffusion",
    "voice": "polymodal.parts.generators.voice.Voice",
}
