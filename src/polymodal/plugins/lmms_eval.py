"""Our models in lmms-eval (EvolvingLMMs-Lab, read at 0.7.3): `--model polymodal --model_args pretrained=nano`, which finds
this by its entry point `lmms_eval.models`. Decides that it is a chat model, whose requests are (context, messages of a
document, settings, document, task, split); the guide of lmms-eval names five of these, its own models unpack six.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest

from polymodal.content import Message
from polymodal.errors import EvaluationError
from polymodal.evaluation.protocol import Prompt
from polymodal.model.sampling import Sampling
from polymodal.plugins.asked import Asked, message, sampling_of


def manifest() -> ModelManifest:
    return ModelManifest(model_id="polymodal", chat_class_path=f"{__name__}.{Polymodal.__name__}")


class Polymodal(lmms):
    """`pretrained`: as `polymodal.load` takes it. `threads`: of the processor. `device` and `max_batch_size` are what
    lmms-eval tells every model; a composition is where its checkpoint puts it."""

    is_simple = False

    def __init__(
        self,
        pretrained: str = "nano",
        batch_size: int | str = 16,
        threads: int | None = None,
        device: str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.asked = Asked(pretrained, 16 if batch_size == "auto" else int(batch_size), threads)

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Answers, in the order of the requests. Those of equal settings are asked together."""
        out: list[str] = [""] * len(requests)
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(repr(sorted(_unpacked(request)[1].items(), key=str)), []).append(i)
        for places in groups.values():
            told = _unpacked(requests[places[0]])[1]
            conversations = [self._first(requests[i]) for i in places]
            said = self.asked.say(conversations, sampling_of(told))
            for i, text in zip(places, said, strict=True):
                out[i] = _until(text, told.get("until"))
                self.cache_hook.add_partial("generate_until", requests[i].args, out[i])
        return out

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Of a continuation as the whole answer, its end token included; and whether greedy writing begins with it. Those
        of one prompt are ranked together. The tasks that ask for it are of lmms-eval's older form: (context,
        continuation, pictures of a document, document, task, split)."""
        out: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i, request in enumerate(requests):
            context, _, _, number, task, split = request.args
            groups.setdefault((context, number, task, split), []).append(i)
        for (context, number, task, split), places in groups.items():
            document = self.task_dict[task][split][number]
            pictures = requests[places[0]].args[2]
            shown = [("image", picture) for picture in (pictures(document) if callable(pictures) else None) or ()]
            turns = (message("user", [*shown, ("text", context)]),)
            told = [requests[i].args[1] for i in places]
            options = tuple((one if isinstance(one, str) else str(one(document))).strip() for one in told)
            (ranked,) = self.asked.answers([Prompt(turns, options)], Sampling())
            (said,) = self.asked.say([turns], Sampling(max_new_tokens=32))
            for i, option, value in zip(places, options, ranked.likelihoods, strict=True):
                out[i] = (value, said.startswith(option))
        return out

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[list[str]]:
        """The answers of every round of each request. A task is told what was said, and says what is asked next, or that
        nothing is."""
        out: list[list[str]] = []
        for request in requests:
            messages, told, document = self._parts(request)
            said: list[str] = []
            turns, before = messages(document), None
            while True:
                (text,) = self.asked.say([_conversation(turns)], sampling_of(told))
                said.append(_until(text, told.get("until")))
                found = messages(document, round_idx=len(said), previous_output=list(said), previous_round_info=before)
                if not (isinstance(found, tuple) and len(found) == 4):
                    break
                turns, last, _, before = found
                if last:
                    break
            out.append(said)
        return out

    def _first(self, request: Instance) -> list[Message]:
        messages, _, document = self._parts(request)
        return _conversation(messages(document))

    def _parts(self, request: Instance) -> tuple[Callable[..., Any], dict[str, Any], Any]:
        messages, told, number, task, split = _unpacked(request)
        return messages, told, self.task_dict[task][split][number]


def _unpacked(request: Instance) -> tuple[Callable[..., Any], dict[str, Any], Any, str, str]:
    if len(request.args) != 6:
        raise EvaluationError(f"a request of lmms-eval has {len(request.args)} arguments; a chat model's has 6")
    _, messages, told, number, task, split = request.args
    return messages, dict(told), number, task, split


def _conversation(turns: Sequence[dict[str, Any]]) -> list[Message]:
    """lmms-eval's messages: content is a list of {"type": "text", "text"} and {"type": MODALITY, "url"}."""
    out = []
    for turn in turns:
        content = turn["content"]
        items = [{"type": "text", "text": content}] if isinstance(content, str) else content
        pairs = [(item["type"], item["text"] if item["type"] == "text" else item["url"]) for item in items]
        out.append(message(turn["role"], pairs))
    return out


def _until(text: str, stops: Any) -> str:
    """What stands before the first of the strings that end an answer."""
    for stop in [stops] if isinstance(stops, str) else stops or ():
        text = text.partition(stop)[0] if stop else text
    return text.strip()
