"""Modality encoders by name. A user's own encoder needs no entry here: its dotted path is its name."""

ENCODERS = {
    "efficientnet-lite": "polymodal.parts.encoders.efficientnet.EfficientNetLite",
    "vision": "polymodal.parts.encoders.vision.TransformersVision",
    "frames": "polymodal.parts.encoders.frames.Frames",
    "whisper": "polymodal.parts.encoders.whisper.WhisperSpeech",
    "whisper-decoder": "polymodal.parts.encoders.whisper_decoder.WhisperDecoder",
    "waveform": "polymodal.parts.encoders.waveform.WaveformAudio",
    "point-patches": "polymodal.parts.encoders.point_patches.PointPatches",
    "pointnet": "polymodal.parts.encoders.pointnet.PointNet",
    "series": "polymodal.parts.encoders.series.SensorSeries",
    "maps": "polymodal.parts.encoders.maps.MapImages",
    "spectrogram": "polymodal.parts.encoders.spectrogram.SpectrogramAudio",
}
