"""What a composition is made of, in numbers. Decides what `compose` shows, and says before any training whether the
composition can be exported exactly to a stock architecture."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from polymodal.content import Part
from polymodal.model.composition import Composition
from polymodal.parts import peft
from polymodal.parts.base import Inputs
from polymodal.parts.encoders.sensors import Sensors
from polymodal.parts.encoders.vision import TransformersVision
from polymodal.parts.input_projectors.mlp import MLP

if TYPE_CHECKING:
    from rich.console import Group
    from torch import nn

# Backbones that transformers' LlavaForConditionalGeneration runs (checked with transformers 5.23).
_LLAVA_TEXT = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text", "persimmon")
# It reads states before the encoder's last norm. CLIP's output has no such norm; SigLIP's, DINOv2's, ViT's and Swin's do.
_LLAVA_VISION = ("clip_vision_model",)


def describe(composition: Composition, trains: Sequence[dict[str, float]] = ()) -> dict[str, Any]:
    """`parts`: rows of name, kind, parameters, trained (by any of the stages' patterns `trains`), bytes; the adapters of a
    part are a row of their own, under its name with `.peft`. `positions`: places in the sequence one item of each modality
    takes (a picture; ten seconds of sound, video or sensors). `spans`: of each output what its span holds, and what its
    generator takes. `export`: the verdict."""
    recipe, model = composition.recipe, composition.model
    kinds = {"backbone": recipe.backbone.get("path") or recipe.backbone.get("config", {}).get("model_type", "")}
    kinds |= {f"shared.{name}": options["kind"] for name, options in recipe.shared.items()}
    for name, part in recipe.inputs.items():
        kinds[f"inputs.{name}.encoder"] = part.encoder["kind"]
        kinds[f"inputs.{name}.projector"] = part.projector["kind"]
        if "fusion" in model.modalities[name].parts:
            kinds[f"inputs.{name}.fusion"] = part.fusion["kind"]
    for name, output in recipe.outputs.items():
        kinds[f"outputs.{name}.tokens"] = output.span.kind
        if model.designs[name].projector is not None:
            kinds[f"outputs.{name}.projector"] = (output.projector or {"kind": "flow"})["kind"]
        if model.designs[name].generator is not None:
            kinds[f"outputs.{name}.generator"] = output.generator["kind"]
    if recipe.opening is not None:
        kinds["opening"] = "layers " + ", ".join(map(str, recipe.opening.layers))
    patterns = [pattern for stage in trains for pattern in stage]
    rows = []
    for name, kind in kinds.items():
        module = model.get_submodule(name)
        adapters = peft.weights(module)
        plain = {n: p for n, p in peft.named_parameters(module).items() if n not in adapters}
        rows.append(_row(name, kind, {f"{name}.{n}": p for n, p in plain.items()}, patterns))
        if adapters:
            said = ", ".join(sorted({peft.attached(m).kind for _, m in peft.named_modules(module) if peft.attached(m)}))
            rows.append(_row(f"{name}.peft", said, {f"{name}.{n}": p for n, p in adapters.items()}, patterns))
    exportable, why = exportability(composition)
    export = {"llava": exportable, "why": why}
    return {"parts": rows, "positions": positions(composition), "spans": spans(composition), "export": export}


def _row(name: str, kind: str, parameters: dict[str, nn.Parameter], patterns: list[str]) -> dict[str, Any]:
    return {
        "part": name,
        "kind": kind,
        "parameters": sum(p.numel() for p in parameters.values()),
        "trained": sum(p.numel() for n, p in parameters.items() if any(fnmatchcase(n, pattern) for pattern in patterns)),
        "bytes": sum(p.numel() * p.element_size() for p in parameters.values()),
    }


def positions(composition: Composition) -> dict[str, int]:
    """Positions of a sample item of each modality, from the lengths alone: no encoder runs."""
    modalities = composition.model.modalities
    return {name: modalities[name].positions(prepared(part, composition)) for name, part in samples(composition).items()}


def spans(composition: Composition) -> dict[str, dict[str, Any]]:
    """Of each output: `modality`, the `kind` of its span, its `length` without opener and closer (of a text, the most), and
    what its generator `takes`: `vectors` of a `width`, codes of a `vocabulary`, or text. A generator that is not there
    says what is `missing`."""
    out: dict[str, dict[str, Any]] = {}
    for name, design in composition.model.designs.items():
        body, generator = design.grammar.body, design.generator
        length = body.most if body.kind == "text" else design.grammar.length
        out[name] = {"modality": design.modality, "kind": body.kind, "length": length}
        if generator is None:
            out[name]["missing"] = design.missing
            continue
        vectors = ("positions", "width")
        sizes = {"condition": vectors, "latents": vectors, "codes": ("positions", "vocabulary")}.get(generator.takes, ())
        out[name] |= {"takes": generator.takes} | {key: getattr(generator, key) for key in sizes}
    return out


def span_text(span: dict[str, Any]) -> tuple[str, str]:
    """What a span holds, and what becomes of it, in words."""
    length, takes = f"{span['length']:,}", span.get("takes")
    held = {"text": f"up to {length} tokens of text", "masked": f"{length} covered codes"}
    said = held.get(span["kind"], f"{length} {span['kind'] if span['length'] != 1 else span['kind'].removesuffix('s')}")
    if takes == "condition":
        s = "s" if span["positions"] != 1 else ""
        return said, f"{span['positions']:,} vector{s} of {span['width']:,}"
    if takes == "latents":
        return said, f"{span['positions']:,} latents of {span['width']:,}"
    if takes == "codes":
        return said, f"{span['positions']:,} codes, each of {span['vocabulary']:,}"
    return said, "a text" if takes == "text" else "nothing: its generator is missing"


def prepared(part: Part, composition: Composition) -> Inputs:
    """What the encoder of a media part's modality is given."""
    port = composition.model.modalities[part.type]
    return port.prepare(port.load(part))


def samples(composition: Composition) -> dict[str, Part]:
    """An item of each modality that says nothing: a picture, ten seconds of sound, video or sensors, a cloud, a map. None
    of one whose encoder has a reader of its own: what it takes has no usual length."""
    import numpy as np

    modalities = composition.model.modalities
    media = blank()
    encoder = modalities["imu"].encoder if "imu" in modalities else None
    takes = getattr(getattr(encoder, "reader", encoder), "takes", None)  # ImageBind's is of its reader
    if isinstance(takes, Sensors):
        media["imu"] = (np.zeros((round(10 * takes.rate), len(takes.channels)), dtype=np.float32), takes.rate)
    usual = [name for name, port in modalities.items() if port.encoder.media_reader is None]
    return {name: Part(name, media=media[name]) for name in usual if name in media}


def blank() -> dict[str, Any]:
    """Media that say nothing, by modality; none of sensors, whose channels are an encoder's own."""
    import numpy as np
    from PIL import Image

    flat = np.ones((240, 320), dtype=np.float32)
    return {
        "image": Image.new("RGB", (320, 240)),
        "audio": (np.zeros(160_000, dtype=np.float32), 16_000),
        "video": (np.zeros((10, 240, 320, 3), dtype=np.uint8), 1.0),
        "points": np.random.default_rng(0).random((8192, 6), dtype=np.float32),
        "depth": flat,
        "thermal": flat,
        "segmentation": Image.new("RGB", (320, 240)),
    }


def exportability(composition: Composition) -> tuple[bool, str]:
    """Whether transformers' LLaVA class (and so vLLM and llama.cpp) can hold exactly this composition, and why not."""
    modalities = composition.model.modalities
    if composition.recipe.peft:
        return False, "it has adapters: save it with merge=True first"
    if set(modalities) != {"image"}:
        return False, f"LLaVA has one modality, image; this has {', '.join(modalities) or 'none'}"
    if modalities["image"].fusion.attends:
        return False, "LLaVA places features in the sequence; here the backbone's layers know of them"
    image, text = modalities["image"], composition.model.backbone.lm.config.model_type
    if not isinstance(image.encoder, TransformersVision) or image.encoder.network.config.model_type not in _LLAVA_VISION:
        return False, "the image encoder is not CLIP, the only one whose output LLaVA's class gives exactly"
    if image.encoder.tiles > 1:
        return False, "LLaVA's class takes one view of a picture, and no tiles"
    if image.encoder.stretched:
        return False, "LLaVA's class takes pictures of the encoder's own size"
    projector = image.projector
    if type(projector) is not MLP or len(projector.layers) != 2 or projector.stack != 1 or projector.normed:
        return False, "LLaVA's projector is an MLP of two layers, without norm or stacking"
    if projector.layers[0].out_features != composition.model.backbone.width:
        return False, "LLaVA's projector is as wide inside as the backbone"
    if text not in _LLAVA_TEXT:
        return False, f"LLaVA's class does not run a '{text}' backbone"
    return True, "CLIP-type encoder, two-layer MLP and a backbone that LLaVA's class runs"


def table(report: dict[str, Any]) -> Group:
    """The report for people."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    total, trained = (sum(row[key] for row in report["parts"]) for key in ("parameters", "trained"))
    grid = Table(title=None, show_footer=True, header_style="bold")
    grid.add_column("part", footer="total")
    grid.add_column("kind")
    grid.add_column("parameters", justify="right", footer=f"{total / 1e6:.2f} M")
    grid.add_column("trained", justify="right", footer=f"{trained / total:.2%}")
    grid.add_column("memory", justify="right", footer=f"{sum(r['bytes'] for r in report['parts']) / 1e6:.0f} MB")
    for row in report["parts"]:
        share = f"{row['trained'] / max(1, row['parameters']):.0%}" if row["trained"] else "frozen"
        size = f"{row['parameters'] / 1e6:.2f} M"
        grid.add_row(row["part"], row["kind"], size, share, f"{row['bytes'] / 1e6:.0f} MB")
    units = {"image": "a picture", "audio": "10 s of sound", "video": "10 s of video", "points": "a cloud"}
    units |= {
        "imu": "10 s of sensors",
        "depth": "a depth map",
        "thermal": "a thermal picture",
        "segmentation": "a drawing of segments",
    }
    lines = [f"{units.get(name, name)} takes {n} positions" for name, n in report["positions"].items()]
    for name, span in report["spans"].items():
        lines.append("output {}: {} become {}".format(name, *span_text(span)))
    verdict = "exportable to LLaVA" if report["export"]["llava"] else "not exportable to LLaVA"
    return Group(grid, Text("; ".join([*lines, f"{verdict}: {report['export']['why']}"])))
