"""What looks at pictures that were made, for the protocols that say so: `--encoder`. Decides that it is named in the score,
by its folder's name and a hash of its weights, and that pictures are looked at when they are scored, so that saved ones can
be scored again by other eyes.

`efficientnet-lite0` is at hand; a folder is a checkpoint of transformers: of CLIP or another that reads texts too, or of
pictures alone. Nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from polymodal import media
from polymodal.content import Part
from polymodal.errors import EvaluationError
from polymodal.evaluation.files import Files, inside
from polymodal.evaluation.identity import sampled

OURS = "efficientnet-lite0"


class Eyes:
    """`encoder`: OURS, or a folder. `made`: where the files of answers lie, with what was made beside them. `real`: where
    the benchmark's own pictures are; None where a protocol looks at none of them.

    Raises `EvaluationError` for a folder that transformers reads no encoder of pictures from."""

    def __init__(self, encoder: str, made: Path, real: Files | None = None) -> None:
        self.made, self.real = made, real
        self._seen: dict[str, np.ndarray] = {}
        if encoder == OURS:
            from polymodal.parts.encoders.efficientnet import EfficientNetLite

            self.model: Any = EfficientNetLite("asset:efficientnet-lite0", features="pooled").eval()
            self.processor: Any = None
            label = OURS
        else:
            self.model, self.processor = _checkpoint(Path(encoder))
            label = Path(encoder).name
        self.name = f"{label}@{sampled(self.model.state_dict(), label.encode())[:8]}"

    def picture(self, made: Mapping[str, Any]) -> np.ndarray:
        """[d], of one thing of `Answer.made`. Raises `EvaluationError` for a file that is not there."""
        name = str(made.get("file", ""))
        inside(name, "a made picture")
        path = self.made / name
        if not path.is_file():
            raise EvaluationError(f"{path}: a made picture is not there; it lies beside the file of answers")
        return self._looked(Part("image", media=path), name)

    def original(self, name: str) -> np.ndarray:
        """[d], of a picture of the benchmark, by its authors' name of it."""
        if self.real is None:
            raise EvaluationError(
                "the benchmark's own pictures are needed: name --data, and --images if they are elsewhere"
            )
        return self._looked(self.real.picture(name, "a real picture", "val2014", "images"), f"\0{name}")

    @torch.no_grad()
    def words(self, text: str) -> np.ndarray:
        """[d], of a text, in the space of pictures. Raises `EvaluationError` for an encoder of pictures alone."""
        if not hasattr(self.model, "get_text_features"):
            raise EvaluationError(f"{self.name} reads no texts; CLIPScore takes the folder of a CLIP")
        tokens = self.processor(text=[text], return_tensors="pt", padding=True, truncation=True)
        return _row(self.model.get_text_features(**tokens))

    @torch.no_grad()
    def _looked(self, part: Part, name: str) -> np.ndarray:
        if name not in self._seen:
            picture: Image.Image = media.load(part)
            if self.processor is None:
                tokens = self.model([self.model.prepare(picture)]).tokens[0]
                self._seen[name] = _row(tokens.reshape(-1, tokens.shape[-1]).mean(0)[None])
            else:
                pixels = self.processor(images=[picture], return_tensors="pt")
                how = getattr(self.model, "get_image_features", self.model)
                self._seen[name] = _row(how(**pixels))
        return self._seen[name]


def _row(found: Any) -> np.ndarray:
    """The features of one item: a tensor, or what a model of transformers returns."""
    if not isinstance(found, Tensor):
        pooled = getattr(found, "pooler_output", None)
        found = found.last_hidden_state.mean(1) if pooled is None else pooled
    return found[0].float().cpu().numpy().ravel()


def _checkpoint(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoImageProcessor, AutoModel, AutoProcessor

    if not folder.is_dir():
        raise EvaluationError(f"--encoder: {OURS}, or the folder of a checkpoint; there is no folder {folder}")
    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = AutoModel.from_pretrained(folder, use_safetensors=True, **here).eval()
        reads = AutoProcessor if hasattr(model, "get_text_features") else AutoImageProcessor
        return model, reads.from_pretrained(folder, **here)
    except (OSError, ValueError, ImportError) as error:
        said = str(error).strip().splitlines()[0][:200]
        raise EvaluationError(f"{folder}: transformers reads no encoder of pictures in it ({said})") from error
