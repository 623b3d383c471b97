"""The other side of `pretraining.py`: the same parts put together by hand with transformers, trained by HF Trainer.

An ordinary composition, as a competent person writes it: a frozen encoder under `no_grad`, features scattered over
placeholder tokens, labels of -100 where nothing is learned, right padding to the longest of a batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

FEATURES = 49
IMAGE = "<file_sep>"  # a token of SmolLM2 that no text here contains


class Plain(nn.Module):
    """Encoder, projector, language model."""

    def __init__(self, projector: dict[str, Tensor], lora: bool = False) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet
        from safetensors.torch import load_file
        from transformers import AutoModelForCausalLM

        self.vision = EfficientNet.from_name("efficientnet-lite0")
        self.vision.load_state_dict(load_file(Path(located("efficientnet-lite0")) / "model.safetensors"))
        self.language = AutoModelForCausalLM.from_pretrained(located("smollm2-135m-instruct"), dtype=torch.float32)
        self.image_id = tokenizer().convert_tokens_to_ids(IMAGE)
        self.requires_grad_(False)
        if lora:
            from peft import LoraConfig, get_peft_model

            self.language = get_peft_model(
                self.language, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
            )
        self.projector = nn.Sequential(nn.Linear(1280, 576), nn.GELU(), nn.Linear(576, 576))
        self.projector.load_state_dict(projector)

    def train(self, mode: bool = True) -> Plain:
        super().train(mode)
        self.vision.eval()  # batch statistics stay what they are
        return self

    def forward(self, input_ids: Tensor, pixel_values: Tensor, attention_mask: Tensor, labels: Tensor) -> Any:
        with torch.no_grad():
            grid = self.vision.extract_features(pixel_values)
        features = self.projector(grid.flatten(2).transpose(1, 2))
        embeds = self.language.get_input_embeddings()(input_ids)
        places = (input_ids == self.image_id)[..., None].expand_as(embeds)
        embeds = embeds.masked_scatter(places, features.to(embeds.dtype))
        return self.language(inputs_embeds=embeds, attention_mask=attention_mask, labels=labels)


class Captions(torch.utils.data.Dataset):
    """Conversations of one picture, one question and one answer."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.words = folder, tokenizer()
        self.rows = [json.loads(line)["messages"] for line in (folder / "data.jsonl").read_text().splitlines()]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        (picture, question), answer = (turn["content"] for turn in self.rows[index])
        asked = [{"role": "user", "content": IMAGE * FEATURES + "\n" + question["text"]}]
        prompt = self.words.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        ids = [self.words(text, add_special_tokens=False)["input_ids"] for text in (prompt, f"{answer}<|im_end|>", "\n")]
        labels = [-100] * len(ids[0]) + ids[1] + [-100] * len(ids[2])
        pixels = Image.open(self.folder / picture["image"]).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        pixel_values = torch.from_numpy((np.asarray(pixels, dtype=np.float32) - 127) / 128).permute(2, 0, 1)
        return {"input_ids": torch.tensor(sum(ids, [])), "labels": torch.tensor(labels), "pixel_values": pixel_values}


def collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    pad = torch.nn.utils.rnn.pad_sequence
    ids = [row["input_ids"] for row in rows]
    return {
        "input_ids": pad(ids, batch_first=True, padding_value=2),
        "attention_mask": pad([torch.ones_like(i) for i in ids], batch_first=True),
        "labels": pad([row["labels"] for row in rows], batch_first=True, padding_value=-100),
        "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
    }


def train_plain(
    folder: Path, batch: int, steps: int, block_done: Callable[[], None], bf16: bool = False, lora: bool = False
) -> None:
    """HF Trainer with its defaults; `block_done` is called after every `steps` steps."""
    from safetensors.torch import load_file
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Blocks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step % steps == 0:
                block_done()

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=batch,
        max_steps=10_000,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=bf16,
        disable_tqdm=True,
    )
    model = Plain(load_file(folder / "projector.safetensors"), lora)
    data = Captions(folder)
    Trainer(model, arguments, train_dataset=data, data_collator=collate, callbacks=[Blocks()]).train()


def losses_agree(folder: Path, composition: Any, rows: int = 4) -> float:
    """Write the projector both sides begin with; the difference of both sides' losses of the same rows."""
    from safetensors.torch import save_file

    from polymodal.content import from_json
    from polymodal.model.sequence import collate as collate_examples
    from polymodal.training.objectives import lm
    from polymodal.training.step import Step

    values = composition.model.modalities["image"].projector.state_dict().values()
    initial = dict(zip(("0.weight", "0.bias", "2.weight", "2.bias"), map(torch.clone, values), strict=True))
    save_file(initial, folder / "projector.safetensors")
    data = Captions(folder)
    with torch.no_grad():
        plain = Plain(initial).eval()(**collate([data[i] for i in range(rows)])).loss
        examples = []
        for messages in data.rows[:rows]:
            picture = messages[0]["content"][0]
            shown = [
                {
                    **messages[0],
                    "content": [{**picture, "image": str(folder / picture["image"])}, messages[0]["content"][1]],
                }
            ]
            examples.append(composition.processor.encode(from_json([*shown, messages[1]])))
        ours = lm(Step(composition.model, collate_examples(examples, composition.processor.pad_id)))
    difference = abs(float(plain) - float(ours.each.sum() / ours.counts.sum()))
    assert difference < 1e-4, f"the two sides differ in what they compute: their losses differ by {difference}"
    return difference


def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(located("smollm2-135m-instruct"))


def located(asset: str) -> str:
    from polymodal.parts.sources import locate

    return str(locate(f"asset:{asset}"))
