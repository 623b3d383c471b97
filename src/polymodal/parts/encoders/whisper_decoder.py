"""Whisper with its decoder (arXiv 2212.04356): what it has in mind for each token that it would write down.

The decoder is told where the recording ends by the silence behind it: without any it writes the same again and again, with
the 30 s of the original it costs five times as much (docs/log.md). Here each recording gets `SILENCE` seconds, and the
decoder writes as it does with time stamps. One that stands where the recording is over ends the transcript; after any
other it goes on, or all that is said behind the first pause would be lost.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from polymodal.errors import RecipeError, nearest
from polymodal.parts.base import Features, Inputs, Positive, Writing, run_by_shape
from polymodal.parts.encoders.whisper import WhisperSpeech
from polymodal.parts.sources import pretrained

RATE = 16000
SILENCE, STEP, SPAN = 5.0, 2.5, 25.0  # seconds: silence at least, what lengths are rounded up to, audio in one window
TOKENS = 4  # positions a second, and as many more: fast speech has six tokens a second
SAID, MARK, OVER = range(3)
MARKS = 8  # more steps than those tokens, for the time stamps between them
STAMP, TAIL = 0.02, 0.5  # seconds: from one time stamp to the next, and at the end of a recording, where nothing begins


class WhisperDecoder(WhisperSpeech):
    """Features: the decoder's last state for each word piece of its greedy transcript, and behind them the state of the
    mark that follows the last one, again and again. 4 features a second and 4 more for each 25 s. `path` of a Whisper
    checkpoint and the `language` it is told; or `config` (random), the `prompt` (token ids; the last is the first time
    stamp) and the `texts` of the vocabulary (an empty one ends the transcript, unless it is a time stamp before the end).
    With `moments`, what `whisper` makes of them stands first: two features of the sound itself."""

    revision = 2  # until the second, the first time stamp ended a transcript
    writing: Writing
    silent: Tensor

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, Any] | None = None,
        language: str = "en",
        prompt: list[int] | None = None,
        texts: list[str] | None = None,
        moments: Positive | None = None,
    ) -> None:
        from transformers.models.whisper.modeling_whisper import WhisperDecoder as Decoder

        super().__init__(path, config, moments)
        if path is not None:
            prompt, texts = _prompt(path, language), _texts(path)
        elif prompt is None or texts is None:
            raise RecipeError("encoder 'whisper-decoder' needs 'prompt' and 'texts' beside its 'config'")
        else:
            self.decoder = Decoder(self.network.config)
        if len(texts) > len(self.decoder.embed_tokens.weight):
            raise RecipeError(f"encoder 'whisper-decoder': more 'texts' ({len(texts)}) than its decoder has tokens")
        self.prompt, self.writing = prompt, Writing(self.logits, texts)
        self.register_buffer("silent", torch.tensor([not text for text in texts]), persistent=False)
        self.options |= {"prompt": prompt, "texts": texts}

    def _keep(self, whole: Any) -> None:
        super()._keep(whole)
        self.decoder = whole.decoder

    def logits(self, features: Tensor) -> Tensor:
        """[..., De] -> [..., texts]."""
        return linear(features, self.decoder.embed_tokens.weight[: len(self.writing.texts)].to(features.dtype))

    def prepare(self, media: Any) -> Inputs:
        """Samples [S] at 16 kHz -> input_features [windows, mels, F] and tokens [windows], how many each may have."""
        spans = torch.as_tensor(media).split(int(SPAN * RATE))
        longest = max(len(span) for span in spans) / RATE + SILENCE
        whole = int(-(-longest // STEP) * STEP * RATE)
        mels = [super(WhisperDecoder, self).prepare(pad(s, (0, whole - len(s))))["input_features"] for s in spans]
        inputs = {"input_features": torch.stack(mels), "tokens": torch.tensor([_tokens(len(s)) for s in spans])}
        return inputs | ({"sound": super().prepare(media)["input_features"]} if self.moments else {})

    def length(self, inputs: Inputs) -> int:
        return int(inputs["tokens"].sum()) + (2 if self.moments else 0)

    def forward(self, items: list[Inputs]) -> Features:
        sounds = [{"input_features": item["input_features"], "tokens": item["tokens"]} for item in items]
        written = run_by_shape(sounds, lambda batch: self._write(batch["input_features"], batch["tokens"]))
        words = [
            torch.cat([row[: int(n)] for row, n in zip(rows, item["tokens"], strict=True)])
            for rows, item in zip(written, items, strict=True)
        ]
        if not self.moments:
            return Features(words)
        heard = run_by_shape([{"mels": item["sound"]} for item in items], lambda batch: self._distribution(batch["mels"]))
        return Features([torch.cat(rows) for rows in zip(heard, words, strict=True)])

    def _write(self, mels: Tensor, tokens: Tensor) -> Tensor:  # [B, windows, mels, F], [B, windows] -> [B, windows, n, De]
        heard = self._encode(mels.flatten(0, 1))
        steps, stamps = int(tokens.max()), self.prompt[-1]
        last = tokens / TOKENS - 1  # seconds of each window, up to 0.25 more than it has
        last[:, -1] -= TAIL  # another window goes on where one ends
        most, last = tokens.flatten()[:, None].to(heard.device), last.flatten()[:, None].to(heard.device)
        ids = torch.tensor(self.prompt, device=heard.device).expand(len(heard), -1)
        over = torch.zeros(len(heard), 1, dtype=torch.bool, device=heard.device)
        count = torch.zeros_like(over, dtype=torch.long)
        states: list[Tensor] = []
        kinds: list[Tensor] = []  # of each state: SAID, MARK, or OVER
        cache = None
        while not over.all():
            out = self.decoder(input_ids=ids, encoder_hidden_states=heard, past_key_values=cache, use_cache=True)
            cache, state = out.past_key_values, out.last_hidden_state[:, -1]
            ids = self.logits(state).argmax(-1, keepdim=True)
            silent = self.silent[ids]
            states.append(state)
            kinds.append(torch.where(over, OVER, torch.where(silent, MARK, SAID)))
            count = count + (kinds[-1] == SAID)
            ended = silent & ((ids < stamps) | ((ids - stamps) * STAMP >= last))
            over = over | ended | (count == most) | (len(states) == most + MARKS)  # its own limits: no neighbour's
        rows = [_words(*row, steps) for row in zip(torch.stack(states, 1), torch.cat(kinds, 1), strict=True)]
        return torch.stack(rows).unflatten(0, mels.shape[:2])


def _words(states: Tensor, kinds: Tensor, steps: int) -> Tensor:
    """Of the states [S, De] of a transcript those that say something, and the mark behind the last of them until there are
    `steps`; of one that came to its limit without, an earlier mark."""
    words, marks = ((kinds == kind).nonzero()[:, 0] for kind in (SAID, MARK))
    behind = marks[marks > words[-1]] if len(words) else marks
    fill = torch.cat((behind[:1], marks[-1:], words[-1:]))[:1]
    return states[torch.cat((words, fill.expand(steps - len(words))))]


def _tokens(samples: int) -> int:
    return -(-TOKENS * samples // RATE) + TOKENS


def _prompt(path: str, language: str) -> list[int]:
    """The ids that begin a transcript with time stamps, in a language. Raises `RecipeError` for one it does not know."""
    from transformers import GenerationConfig

    known = pretrained(GenerationConfig, path, "encoder.path")
    first = known.no_timestamps_token_id + 1
    if not getattr(known, "lang_to_id", None):  # a checkpoint that knows English alone
        return [known.decoder_start_token_id, first]
    languages = {token.strip("<|>"): i for token, i in known.lang_to_id.items()}
    if language not in languages:
        raise RecipeError(f"encoder 'whisper-decoder': it knows no language '{language}'{nearest(language, languages)}")
    return [known.decoder_start_token_id, languages[language], known.task_to_id["transcribe"], first]


def _texts(path: str) -> list[str]:
    """What each token writes; marks and time stamps write nothing."""
    from transformers import AutoTokenizer

    tokenizer = pretrained(AutoTokenizer, path, "encoder.path")
    marks = set(tokenizer.get_added_vocab().values())
    words = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    return ["" if i in marks else tokenizer.convert_tokens_to_string([word]) for i, word in enumerate(words)]
