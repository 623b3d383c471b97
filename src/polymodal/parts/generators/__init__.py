"""Modality generators by name. A user's own generator needs no entry here: its dotted path is its name."""

GENERATORS = {
    "voice": "polymodal.parts.generators.voice.Voice",
}
