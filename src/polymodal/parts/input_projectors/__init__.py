"""Input projectors by name. A user's own projector needs no entry here: its dotted path is its name."""

INPUT_PROJECTORS = {
    "linear": "polymodal.parts.input_projectors.mlp.Linear",
    "mlp": "polymodal.parts.input_projectors.mlp.MLP",
    "prefix": "polymodal.parts.input_projectors.prefix.Prefix",
    "pyramid": "polymodal.parts.input_projectors.pyramid.Pyramid",
    "temporal": "polymodal.parts.input_projectors.temporal.Temporal",
    "spatio-temporal-pooling": "polymodal.parts.input_projectors.spatio_temporal_pooling.SpatioTemporalPooling",
    "tags": "polymodal.parts.input_projectors.tags.Tags",
    "posteriors": "polymodal.parts.input_projectors.posteriors.Posteriors",
    "branches": "polymodal.parts.input_projectors.branches.Branches",
    "pixel-shuffle": "polymodal.parts.input_projectors.pixel_shuffle.PixelShuffle",
    "ldp": "polymodal.parts.input_projectors.ldp.LDP",
    "ldp-v2": "polymodal.parts.input_projectors.ldp_v2.LDPv2",
    "upm": "polymodal.parts.input_projectors.upm.UPM",
    "resampler": "polymodal.parts.input_projectors.resampler.PerceiverResampler",
    "resampler-2d": "polymodal.parts.input_projectors.resampler_2d.Resampler2D",
    "visual-abstractor": "polymodal.parts.input_projectors.visual_abstractor.VisualAbstractor",
    "q-former": "polymodal.parts.input_projectors.q_former.QFormer",
    "video-q-former": "polymodal.parts.input_projectors.video_q_former.VideoQFormer",
    "mq-former": "polymodal.parts.input_projectors.mq_former.MQFormer",
    "c-former": "polymodal.parts.input_projectors.c_former.CFormer",
}
