"""Second stage: trains the language model to answer the questions in words.

The audio tower is frozen, so every clip is encoded once; the projector and the language model are trained. A step
takes a few records. A record is one clip with one text, and several questions that share this prefix
(`dramaeval.models.forward.shared_prefix`). Clip and text are paired anew for every record, so that neither predicts
the other.
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

from dramaeval.data.logmel import ClipFeatures
from dramaeval.models.inputs.collation import Batch, EncodedRecord, LabelledQuestion, collate
from dramaeval.models.inputs.question_encoder import AnswerTokens, EncodedQuestion
from dramaeval.tasks.question import LEAD, TAIL
from dramaeval.tasks.rubric import Rubric
from recipes.sample import context as contexts
from recipes.sample.context import Context, Moment, Nature
from recipes.sample.voices import VOICES
from recipes.tiny_judge import questions
from recipes.tiny_judge.auxiliary_heads import AuxiliaryHeads, fact_indices
from recipes.tiny_judge.clips import Spoken
from recipes.tiny_judge.comparisons import Item, differences, distances
from recipes.tiny_judge.encoded_clip_judge import EncodedClipJudge
from recipes.tiny_judge.questions import SCORE, Question

END_OF_TURN = "<|im_end|>"
#: Share of texts whose voice and emotion are chosen to fit the clip; at random they seldom would.
VOICE_FITS, EMOTION_FITS = 0.35, 0.35


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
    """The product's prompt, which the lessons use as well.

    Attributes:
        system: the system prompt.
        context: the template of the text that goes with a clip.
        rubric: the rubric with the dimensions to ask for.
    """

    system: str
    context: str
    rubric: Rubric


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One step's records.

    Attributes:
        batch: their tokens.
        ends: int64 ``[records]``, the position of each one's last shared token.
        facts: int64 ``[records, kinds]``, see `recipes.tiny_judge.auxiliary_heads.fact_indices`.
        differences: float32 ``[records, graded comparisons]``, see `comparisons.differences`.
        item_distances: float32 ``[records, comparisons]``, see `comparisons.distances`.
        distances: float32 ``[questions]``, not-a-number where the question is not under the rubric.
    """

    batch: Batch
    ends: torch.Tensor
    facts: torch.Tensor
    differences: torch.Tensor
    item_distances: torch.Tensor
    distances: torch.Tensor


class LessonBuilder:
    """Draws texts and questions for clips and tokenises them.

    Args:
        processor: the judge's processor.
        wording: the product's prompt.
        spoken: the clips' lines and deliveries.
        encoded_clips: encodings of the clips, from `encode_clips`.
        split: the split whose names, places and frames the texts use.
    """

    def __init__(
        self,
        processor: Any,
        wording: Wording,
        spoken: Sequence[Spoken],
        encoded_clips: Sequence[ClipFeatures],
        split: str,
    ) -> None:
        self.tokenizer = processor.tokenizer
        self.wording = wording
        self.spoken = spoken
        self.encoded_clips = encoded_clips
        self.split = split
        self.pad: int = self.tokenizer.pad_token_id
        self.audio: int = self.tokenizer.convert_tokens_to_ids(processor.audio_token)
        self._ids = lru_cache(maxsize=20_000)(self._tokenise)
        self._lead = self._ids(LEAD)
        self._tail = self._ids(TAIL + END_OF_TURN)
        # The chat template is applied once; later prompts are joined from its three parts.
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
        """The token of a text that is a single token."""
        (only,) = self._ids(text)
        return only

    def item(self, index: int, rng: np.random.Generator) -> Item:
        """A clip with a text that is drawn for it."""
        spoken = self.spoken[index]
        return Item(
            delivery=spoken.delivery,
            context=context_for(spoken, rng, self.split),
            transcript=spoken.transcript,
            language=spoken.language,
        )

    def under_rubric(self, item: Item, count: int, rng: np.random.Generator) -> list[Question]:
        """Questions under the rubric's text, each for another dimension."""
        keys = [dimension.key for dimension in self.wording.rubric.dimensions]
        chosen = [keys[int(index)] for index in rng.permutation(len(keys))[:count]]
        return questions.under_rubric(item, self.wording.rubric, chosen, rng)

    def lesson(
        self, pairs: Sequence[tuple[int, Item]], question_lists: Sequence[Sequence[Question]]
    ) -> Lesson:
        """The tokens of clips, their texts and the questions about them, as one forward pass."""
        records, ends = [], []
        for (index, item), item_questions in zip(pairs, question_lists, strict=True):
            clip = self.encoded_clips[index]
            shared = self._shared(item, clip.frames)
            ends.append(len(shared) - 1)
            records.append(
                EncodedRecord(
                    clips=(clip,),
                    questions=tuple(self._label(shared, question) for question in item_questions),
                )
            )
        facts = [fact_indices(questions.facts(item)) for _, item in pairs]
        return Lesson(
            batch=collate(records, pad=self.pad),
            ends=torch.tensor(ends),
            facts=torch.tensor(facts),
            differences=torch.tensor([differences(item) for _, item in pairs]),
            item_distances=torch.tensor([distances(item) for _, item in pairs]),
            distances=torch.tensor(
                [
                    float("nan") if question.distance is None else question.distance
                    for item_questions in question_lists
                    for question in item_questions
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

    def _label(self, shared: tuple[int, ...], question: Question) -> LabelledQuestion:
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


class LessonModel(nn.Module):
    """The judge and its auxiliary heads."""

    def __init__(self, encoded_judge: EncodedClipJudge) -> None:
        super().__init__()
        self.encoded_judge = encoded_judge
        decoder: Any = encoded_judge.decoder
        self.heads = AuxiliaryHeads(decoder.layers, decoder.config.hidden_size)
        self._head_inputs: list[torch.Tensor] = []
        encoded_judge.get_output_embeddings().register_forward_pre_hook(
            lambda _, inputs: self._head_inputs.append(inputs[0])
        )

    def loss(self, lesson: Lesson) -> torch.Tensor:
        """Cross-entropy of the answers' tokens, summed over an answer, and the loss of the auxiliary heads."""
        batch = lesson.batch
        if batch.targets is None:
            raise ValueError("A lesson needs answers to its questions.")
        self._head_inputs.clear()
        log_p = self.encoded_judge(**batch.inputs).logits.float().log_softmax(-1)
        losses = F.nll_loss(log_p, batch.labels, reduction="none")
        words = log_p[batch.score_index].gather(1, batch.score_tokens.clamp(min=0))
        soft = -(batch.targets * words).sum(-1)
        answers = losses.index_copy(0, batch.score_index, soft).sum() / batch.questions
        ids = batch.inputs["input_ids"][:, : int(lesson.ends.max()) + 1]
        is_text = torch.arange(ids.shape[1])[None] <= lesson.ends[:, None]
        is_text &= ids != self.encoded_judge.audio_token
        notes = self.heads.loss(
            lesson.ends, is_text, lesson.facts, lesson.differences, lesson.item_distances
        )
        judged = self.heads.distance_loss(
            self._head_inputs.pop()[batch.score_index], lesson.distances
        )
        return answers + notes + judged


@torch.no_grad()
def accuracies(
    encoded_judge: EncodedClipJudge,
    builder: LessonBuilder,
    seed: int,
    ask: Callable[[Item, np.random.Generator], list[Question]],
    size: int = 16,
) -> dict[str, tuple[int, int]]:
    """The numbers of correct answers and of questions by kind; every token of a correct answer is the likeliest."""
    rng = np.random.default_rng([seed, 0xACC])
    encoded_judge.eval()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for start in range(0, len(builder.spoken), size):
        rows = range(start, min(start + size, len(builder.spoken)))
        pairs = [(row, builder.item(row, rng)) for row in rows]
        question_lists = [ask(item, rng) for _, item in pairs]
        batch = builder.lesson(pairs, question_lists).batch
        wrong = encoded_judge(**batch.inputs).logits.argmax(-1) != batch.labels
        mistakes = torch.bincount(batch.question_of[wrong], minlength=batch.questions)
        flat = [question for item_questions in question_lists for question in item_questions]
        for question, missed in zip(flat, mistakes.tolist(), strict=True):
            if question.kind == SCORE:
                continue
            counts[question.kind][0] += missed == 0
            counts[question.kind][1] += 1
    encoded_judge.train()
    return {kind: (correct, total) for kind, (correct, total) in sorted(counts.items())}
