"""Synthetic voices: text -> phonemes -> waveform. Decides what any speaker here needs; how the corpora's recordings are
spoken, and by whom, is in `corpora.voices`."""
