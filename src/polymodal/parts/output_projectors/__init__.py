"""Output projectors by name. A user's own projector needs no entry here: its dotted path is its name."""

OUTPUT_PROJECTORS = {
    "linear": "polymodal.parts.output_projectors.mlp.Linear",
    "mlp": "polymodal.parts.output_projectors.mlp.MLP",
    "transformer": "polymodal.parts.output_projectors.transformer.Transformer",
    "resampler": "polymodal.parts.output_projectors.resampler.Resampler",
}
