"""A checkpoint of transformers as the model that is asked: `transformers:FOLDER`. Decides that it is what its own processor
and class make of it, whatever they are, and that nothing is fetched and no code of the folder is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polymodal import media
from polymodal.errors import EvaluationError, PolymodalError
from polymodal.evaluation.identity import sampled
from polymodal.evaluation.protocol import Answer, Prompt
from polymodal.model.sampling import Sampling

PREFIX = "transformers:"


class Checkpoint:
    """A model of pictures and text. `folder`: as `save_pretrained` of the model and of its processor wrote it.

    Raises `EvaluationError` for one that `AutoModelForImageTextToText` and `AutoProcessor` do not read, or that has no chat
    template."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        if not folder.is_dir():
            raise EvaluationError(f"{folder}: no folder; a checkpoint is {PREFIX}FOLDER, and nothing is fetched")
        here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self.model = AutoModelForImageTextToText.from_pretrained(
                folder, dtype="auto", use_safetensors=True, **here
            ).eval()
            self.processor = AutoProcessor.from_pretrained(folder, **here)
        except (OSError, ValueError, ImportError) as error:
            said = str(error).strip().splitlines()[0][:200]
            raise EvaluationError(f"{folder}: transformers reads no model of pictures and text in it ({said})") from error
        if getattr(self.processor, "chat_template", None) is None:
            raise EvaluationError(f"{folder}: its processor has no chat template, which says how a question is asked")
        self.processor.tokenizer.padding_side = "left"
        self.folder = folder

    @cached_property
    def name(self) -> str:
        config = self.model.config.to_json_string() + str(self.processor.chat_template)
        return f"{self.folder.name}-{sampled(self.model.state_dict(), config.encode())}"

    def answers(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Answer]:
        """See `Foreign`. Those that are written are generated together where they hold equally many pictures."""
        found: dict[int, Answer] = {}
        asked: list[tuple[int, str, list[Any]]] = []
        for i, prompt in enumerate(prompts):
            try:
                text, shown = self._written(prompt)
                if prompt.options:
                    found[i] = Answer(likelihoods=self._ranked(text, shown, prompt.options))
                else:
                    asked.append((i, text, shown))
            except PolymodalError as error:
                found[i] = Answer(error=str(error))
        asked.sort(key=lambda one: len(one[2]))
        for _, group in groupby(asked, key=lambda one: len(one[2])):
            places, texts, pictures = zip(*group, strict=True)
            said = self._generated(list(texts), list(pictures), sampling)
            found.update((i, Answer(text)) for i, text in zip(places, said, strict=True))
        return [found[i] for i in range(len(prompts))]

    def _written(self, prompt: Prompt) -> tuple[str, list[Any]]:
        """The prompt as the template writes it, and its pictures. Raises `EvaluationError` for another modality."""
        shown, turns = [], []
        for message in prompt.messages:
            content = []
            for part in message.parts:
                if part.type == "text":
                    content.append({"type": "text", "text": part.text})
                elif part.type == "image":
                    shown.append(media.load(part))
                    content.append({"type": "image"})
                else:
                    raise EvaluationError(f"a checkpoint of pictures and text is asked about '{part.type}'")
            turns.append({"role": message.role, "content": content})
        return self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True), shown

    def _inputs(self, texts: list[str], pictures: list[list[Any]]) -> Any:
        shown = {"images": pictures} if pictures[0] else {}
        # A template writes the special tokens of its own, where it begins with them
        bos = getattr(self.processor.tokenizer, "bos_token", None)
        own = bos is not None and texts[0].startswith(bos)
        found = self.processor(text=texts, padding=True, return_tensors="pt", add_special_tokens=not own, **shown)
        kinds = {name: value.to(self.model.dtype) if value.is_floating_point() else value for name, value in found.items()}
        return {name: value.to(self.model.device) for name, value in kinds.items()}

    @torch.no_grad()
    def _generated(self, texts: list[str], pictures: list[list[Any]], sampling: Sampling) -> list[str]:
        inputs, drawn = self._inputs(texts, pictures), sampling.temperature > 0
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        more: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p} if drawn else {}
        ids = self.model.generate(**inputs, max_new_tokens=sampling.max_new_tokens, do_sample=drawn, num_beams=1, **more)
        new = ids[:, inputs["input_ids"].shape[1] :]
        return [said.strip() for said in self.processor.batch_decode(new, skip_special_tokens=True)]

    @torch.no_grad()
    def _ranked(self, text: str, shown: list[Any], options: Sequence[str]) -> tuple[float, ...]:
        """The log-likelihood of each option behind the prompt: the sum over its tokens, no end token."""
        inputs = self._inputs([text, *(text + option for option in options)], [shown] * (len(options) + 1))
        rows = [ids[mask.bool()] for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
        logits = self.model(**inputs).logits.float().log_softmax(-1)
        scores = []
        for row, scored in zip(rows[1:], logits[1:], strict=True):
            start = _shared(rows[0], row)
            answer, before = row[start:], scored[len(scored) - len(row) + start - 1 : -1]
            scores.append(float(before.gather(-1, answer[:, None]).sum()))
        return tuple(scores)


def _shared(a: Tensor, b: Tensor) -> int:
    """How many ids two rows begin with alike."""
    most = min(len(a), len(b))
    unlike = (a[:most] != b[:most]).nonzero()
    return int(unlike[0, 0]) if len(unlike) else most
