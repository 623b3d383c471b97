"""Fusions by name: how projected features reach the backbone. A user's own needs no entry here: its dotted path is its
name."""

FUSIONS = {
    "placement": "polymodal.parts.fusion.placement.Placement",
    "gated-cross-attention": "polymodal.parts.fusion.gated_cross_attention.GatedCrossAttention",
    "visual-expert": "polymodal.parts.fusion.visual_expert.VisualExpert",
    "adaption-prompts": "polymodal.parts.fusion.adaption_prompts.AdaptionPrompts",
}
