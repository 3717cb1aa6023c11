"""Second stage: the language model learns to answer, in words, what the questions ask.

The audio tower stays as the first stage left it, so every clip is encoded once and only the projector and
the language model are trained. A step shows a few *record_encoder*: one clip beside one text, and several questions
about them that share this beginning (`dramaeval.models.forward.shared_prefix`). Clip and text are paired afresh for
every encoded_record, so that neither tells anything about the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from dramaeval.data.logmel import ClipFeatures, pad_features
from dramaeval.models.families.qwen2_audio import (
    Qwen2AudioForConditionalGeneration,
    audio_tokens,
    encode,
)
from dramaeval.models.forward import shared_prefix as branches
from dramaeval.models.inputs.collation import Batch, EncodedRecord, LabelledQuestion, collate
from dramaeval.models.inputs.question_encoder import LEAD, TAIL, AnswerTokens, EncodedQuestion
from dramaeval.tasks.rubric import Rubric
from recipes.sample import context as contexts
from recipes.sample.context import Context, Moment, Nature
from recipes.sample.voices import VOICES
from recipes.tiny_judge import questions
from recipes.tiny_judge.clips import Spoken
from recipes.tiny_judge.comparisons import Item, differences, distances
from recipes.tiny_judge.notes import Notes, fact_indices
from recipes.tiny_judge.questions import NO_OPINION, Question

END_OF_TURN = "<|im_end|>"
#: How often voice and feeling of a text are made to fit the clip; by chance they would seldom.
VOICE_FITS, EMOTION_FITS = 0.35, 0.35


class Pupil(Qwen2AudioForConditionalGeneration):
    """The judge, fed with what its tower made of the clips instead of with log-mels."""

    def embed_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """Project encodings ``[clips, d_model, longest]``, of which ``feature_frames`` are real."""
        projected = self.model.multi_modal_projector(input_features.transpose(1, 2))
        return [projected[row, : int(n)] for row, n in enumerate(feature_frames)]


@torch.no_grad()
def encodings(
    judge: Qwen2AudioForConditionalGeneration,
    clips: Sequence[ClipFeatures],
    size: int = 32,
) -> list[ClipFeatures]:
    """What the tower makes of each clip: values ``[d_model, audio tokens]``, whose number is ``frames``."""
    order = np.argsort([clip.frames for clip in clips])
    encoded: list[ClipFeatures] = [clips[0]] * len(clips)
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        features, frames = pad_features([clips[i] for i in rows])
        outputs = encode(judge.model.audio_tower, features, frames)
        for row, output, n in zip(rows, outputs, frames, strict=True):
            tokens = audio_tokens(int(n))
            values = output[:tokens].T.contiguous().half().numpy()
            encoded[row] = ClipFeatures(values=values, frames=tokens, floor=0.0)
    return encoded


def context_for(spoken: Spoken, rng: np.random.Generator, split: str) -> Context:
    """A text for a clip: its line and topic, in a scene and with a character drawn for it."""
    voice = VOICES[spoken.delivery.voice]
    nature: Nature = contexts.draw_nature(rng)
    if rng.random() < VOICE_FITS:
        nature = replace(nature, sex=voice.sex)
    if rng.random() < VOICE_FITS:
        nature = replace(nature, age=voice.age)
    moment: Moment = contexts.draw_moment(rng)
    if rng.random() < EMOTION_FITS:
        emotion = spoken.delivery.emotion
        intensity = 0 if emotion == "neutral" else moment.intensity
        moment = replace(moment, emotion=emotion, intensity=intensity)
    speaker = contexts.character(rng, split, spoken.language, nature)
    drawn = contexts.line(rng, split, speaker, moment, spoken.topic)
    return replace(drawn, transcript=spoken.transcript)


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How the product puts a record to a judge; lessons look the same.

    Attributes:
        system: the system prompt.
        context: the template of the text that goes with a clip.
        rubric: whose dimensions are asked for.
    """

    system: str
    context: str
    rubric: Rubric


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One step's record_encoder.

    Attributes:
        batch: their tokens.
        ends: int64 ``[record_encoder]``, the position of each one's last shared token.
        facts: int64 ``[record_encoder, kinds]``, see `recipes.tiny_judge.notes.fact_indices`.
        differences: float32 ``[record_encoder, graded comparisons]``, see `comparisons.differences`.
        apart: float32 ``[record_encoder, comparisons]``, see `comparisons.distances`.
        distances: float32 ``[questions]``, not-a-number where the question is not under the rubric.
    """

    batch: Batch
    ends: torch.Tensor
    facts: torch.Tensor
    differences: torch.Tensor
    apart: torch.Tensor
    distances: torch.Tensor


class Classroom:
    """Makes record_encoder: draws texts and questions for clips and tokenises them.

    Args:
        processor: the judge's processor.
        wording: how records are put to a judge.
        spoken: the clips' lines and deliveries.
        heard: their encodings, see `encodings`.
        split: whose names, places and frames the texts use.
    """

    def __init__(
        self,
        processor: Any,
        wording: Wording,
        spoken: Sequence[Spoken],
        heard: Sequence[ClipFeatures],
        split: str,
    ) -> None:
        self.tokenizer = processor.tokenizer
        self.wording = wording
        self.spoken = spoken
        self.heard = heard
        self.split = split
        self.pad: int = self.tokenizer.pad_token_id
        self.audio: int = self.tokenizer.convert_tokens_to_ids(processor.audio_token)
        self._ids = lru_cache(maxsize=20_000)(self._tokenise)
        self._lead = self._ids(LEAD)
        self._tail = self._ids(TAIL + END_OF_TURN)
        # The template is asked once; after it, a prompt is put together from its three parts.
        marks = ("CONTEXT", "QUESTION")
        rendered = processor.apply_chat_template(
            [
                {"role": "system", "content": wording.system},
                {
                    "role": "user",
                    "content": [
                        {"type": "audio", "audio_url": "clip"},
                        {"type": "text", "text": "\n".join(marks)},
                    ],
                },
            ],
            tokenize=False,
            add_generation_prompt=True,
        )
        self._before, _, rest = rendered.partition(marks[0])
        _, _, self._after = rest.partition(marks[1])

    def _tokenise(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def token(self, text: str) -> int:
        """The one token of a text that is no more."""
        (only,) = self._ids(text)
        return only

    def item(self, index: int, rng: np.random.Generator) -> Item:
        """A clip beside a text that is drawn for it."""
        spoken = self.spoken[index]
        return Item(
            delivery=spoken.delivery,
            context=context_for(spoken, rng, self.split),
            transcript=spoken.transcript,
            language=spoken.language,
        )

    def short(self, item: Item, count: int, rng: np.random.Generator) -> list[Question]:
        """Plain questions about an item."""
        return questions.plain(item, count, rng)

    def long(self, item: Item, count: int, rng: np.random.Generator) -> list[Question]:
        """Comparisons under the rubric's own text, each for another dimension."""
        keys = [one.key for one in self.wording.rubric.dimensions]
        chosen = [keys[int(at)] for at in rng.permutation(len(keys))[:count]]
        return questions.under_rubric(item, self.wording.rubric, chosen, rng)

    def lesson(
        self, pairs: Sequence[tuple[int, Item]], asked: Sequence[Sequence[Question]]
    ) -> Lesson:
        """The tokens of clips, their texts and the questions about them, as one forward pass."""
        record_encoder, ends = [], []
        for (index, item), some in zip(pairs, asked, strict=True):
            heard = self.heard[index]
            shared = self._shared(item, heard.frames)
            ends.append(len(shared) - 1)
            record_encoder.append(
                EncodedRecord(
                    clips=(heard,), questions=tuple(self._asked(shared, one) for one in some)
                )
            )
        facts = [fact_indices(questions.facts(item)) for _, item in pairs]
        return Lesson(
            batch=collate(record_encoder, pad=self.pad),
            ends=torch.tensor(ends),
            facts=torch.tensor(facts),
            differences=torch.tensor([differences(item) for _, item in pairs]),
            apart=torch.tensor([distances(item) for _, item in pairs]),
            distances=torch.tensor(
                [
                    float("nan") if one.distance is None else one.distance
                    for some in asked
                    for one in some
                ]
            ),
        )

    def _shared(self, item: Item, frames: int) -> tuple[int, ...]:
        """The tokens up to the question."""
        fields = {
            name: getattr(item.context, name)
            for name in ("char_age", "char_style", "char_profile", "local_scene")
        }
        context = self.wording.context.format(transcript=item.transcript, **fields)
        tokens: list[int] = []
        for token in self._tokenise(f"{self._before}{context}\n"):
            tokens += [token] * (frames if token == self.audio else 1)
        return tuple(tokens)

    def _asked(self, shared: tuple[int, ...], question: Question) -> LabelledQuestion:
        prompt = (*shared, *self._ids(question.text + self._after))
        words: tuple[int, ...]
        if question.spread is None:
            first, *others = self._ids(question.answer)
            words, tail, target = (first,), (*others, *self._tail), np.ones(1)
        else:
            # Each option is one token: the distances as the tokenizer learnt them, and digits.
            words = tuple(self._ids(option)[0] for option in question.options)
            tail, target = self._tail, np.array(question.spread)
        answer = AnswerTokens(
            scale=tuple(range(len(words))), lead=self._lead, scores=words, tail=tail
        )
        return LabelledQuestion(
            question=EncodedQuestion(prompt=prompt, answer=answer), target=target
        )


ATTENTION = "shared_prefix_float32"


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """The branched attention outside autocast: on CPU its backward pass is slower in bfloat16."""
    with torch.autocast("cpu", enabled=False):
        output, weights = branches.shared_prefix_attention(
            module, query.float(), key.float(), value.float(), *args, **kwargs
        )
    return output, weights


def pupil_from(judge: Qwen2AudioForConditionalGeneration) -> Pupil:
    """A pupil with the judge's weights, its tower frozen."""
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    pupil = Pupil(judge.config)
    pupil.load_state_dict(judge.state_dict())
    decoder: Any = pupil.decoder
    decoder.set_attn_implementation(ATTENTION)
    pupil.model.audio_tower.requires_grad_(False)
    return pupil.train()


class Learner(nn.Module):
    """A pupil and its notes."""

    def __init__(self, pupil: Pupil) -> None:
        super().__init__()
        self.pupil = pupil
        decoder: Any = pupil.decoder
        self.notes = Notes(decoder.layers, decoder.config.hidden_size)
        self._before_the_word: list[torch.Tensor] = []
        pupil.get_output_embeddings().register_forward_pre_hook(
            lambda _, inputs: self._before_the_word.append(inputs[0])
        )

    def loss(self, lesson: Lesson) -> torch.Tensor:
        """Cross-entropy of the answers' tokens, summed over an answer, and the loss of the notes."""
        batch = lesson.batch
        if batch.targets is None:
            raise ValueError("A lesson needs answers to its questions.")
        self._before_the_word.clear()
        log_p = self.pupil(**batch.inputs).logits.float().log_softmax(-1)
        losses = F.nll_loss(log_p, batch.labels, reduction="none")
        words = log_p[batch.score_index].gather(1, batch.score_tokens.clamp(min=0))
        soft = -(batch.targets * words).sum(-1)
        answers = losses.index_copy(0, batch.score_index, soft).sum() / batch.questions
        ids = batch.inputs["input_ids"][:, : int(lesson.ends.max()) + 1]
        is_text = torch.arange(ids.shape[1])[None] <= lesson.ends[:, None]
        is_text &= ids != self.pupil.audio_token
        notes = self.notes.loss(
            lesson.ends, is_text, lesson.facts, lesson.differences, lesson.apart
        )
        judged = self.notes.distance_loss(
            self._before_the_word.pop()[batch.score_index], lesson.distances
        )
        return answers + notes + judged


@torch.no_grad()
def accuracies(
    pupil: Pupil,
    classroom: Classroom,
    seed: int,
    ask: Callable[[Item, np.random.Generator], list[Question]],
    size: int = 16,
) -> dict[str, tuple[int, int]]:
    """Right answers and questions by kind; an answer is right if its every token is the likeliest."""
    rng = np.random.default_rng([seed, 0xACC])
    pupil.eval()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for start in range(0, len(classroom.spoken), size):
        rows = range(start, min(start + size, len(classroom.spoken)))
        pairs = [(row, classroom.item(row, rng)) for row in rows]
        asked = [ask(item, rng) for _, item in pairs]
        batch = classroom.lesson(pairs, asked).batch
        wrong = pupil(**batch.inputs).logits.argmax(-1) != batch.labels
        mistakes = torch.bincount(batch.question_of[wrong], minlength=batch.questions)
        flat = [question for some in asked for question in some]
        for question, missed in zip(flat, mistakes.tolist(), strict=True):
            if question.kind == NO_OPINION:
                continue
            counts[question.kind][0] += missed == 0
            counts[question.kind][1] += 1
    pupil.train()
    return {kind: (right, of) for kind, (right, of) in sorted(counts.items())}
