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
    "imagebind": "polymodal.parts.encoders.imagebind.ImageBindMedia",
    "beats": "polymodal.parts.encoders.beats.BeatsAudio",
    "pointbert": "polymodal.parts.encoders.pointbert.PointBert",
    "beit3": "polymodal.parts.encoders.beit3.Beit3",
    "clip-resnet": "polymodal.parts.encoders.clip_resnet.ClipResNetImages",
    "eva2-clip": "polymodal.parts.encoders.eva2_clip.Eva2Clip",
    "grounding-dino": "polymodal.parts.encoders.grounding_dino.GroundingDino",
    "ram-plus": "polymodal.parts.encoders.ram_plus.RamPlusImages",
    "nfnet": "polymodal.parts.encoders.nfnet.NFNetImages",
}
