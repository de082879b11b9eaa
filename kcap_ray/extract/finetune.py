"""Teaching a model to answer questions, through adapters alone.

Shape letters: B questions of a step, T tokens, V vocabulary, Q questions.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from kcap_ray.extract.accuracy import Logits, answered
from kcap_ray.extract.config import ExtractConfig
from kcap_ray.extract.lora import add_adapters, with_new_tokens
from kcap_ray.extract.questions import QuestionTable
from kcap_ray.models.decoder import Decoder
from kcap_ray.training.checkpoint import resume_from, save_checkpoint


@dataclass(frozen=True, kw_only=True)
class Student:
    """A frozen model with adapters."""

    logits: Logits
    trained: Sequence[nn.Parameter]
    """The adapters' weights."""
    n_vocab: int
    device: torch.device


SAVE_EVERY_S = 300.0
"""Seconds between two saves of the adapters."""


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """Where the adapters of unfinished lessons are kept."""

    path: Path
    run_key: str
    """Tells these lessons from all others: what was saved under another key is not read."""

    def resume(self, student: Student, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
        """Put adapters and optimizer where they were; the steps done, and the last one's loss."""
        state = resume_from(self.path, run_key=self._key(student))
        if state is None:
            return 0, 0.0
        with torch.no_grad():
            for parameter, own in zip(student.trained, state["trained"], strict=True):
                parameter.copy_(own)
        optimizer.load_state_dict(state["optimizer"])
        return state["step"], state["loss"]

    def save(self, student: Student, optimizer: torch.optim.Optimizer, **done: Any) -> None:
        """Write adapters and optimizer, and what is `done`: `step` and `loss`."""
        trained = [parameter.detach() for parameter in student.trained]
        state = {"trained": trained, "optimizer": optimizer.state_dict()} | done
        save_checkpoint(self.path, {"run_key": self._key(student)} | state)

    def _key(self, student: Student) -> str:
        """With the adapters' shapes: another version of kcap or of peft may have others."""
        return f"{self.run_key} {[tuple(parameter.shape) for parameter in student.trained]}"


def adapted(
    model: Decoder, table: QuestionTable, config: ExtractConfig, *, eos: int, std: float
) -> Student:
    """A copy of the model that knows the questions' tokens, frozen, with adapters.

    `UserError` where the backend cannot be had or does not fit the model.
    """
    enlarged = with_new_tokens(model, table.n_new_tokens, std=std, seed=config.seed).eval()
    device = model.embedding.device
    n_vocab = enlarged.spec.vocab_size
    if config.backend == "peft":
        from kcap_ray.extract.peft_adapters import peft_student

        logits, trained = peft_student(enlarged, config, eos=eos)
        return Student(logits=logits, trained=trained, n_vocab=n_vocab, device=device)
    trained = add_adapters(
        enlarged,
        rank_embedding=config.rank_embedding,
        rank_attention=config.rank_attention,
        seed=config.seed,
    )
    return Student(logits=enlarged, trained=trained, n_vocab=n_vocab, device=device)


def teach(
    student: Student,
    table: QuestionTable,
    questions: NDArray[np.int64],
    config: ExtractConfig,
    *,
    on_step: Callable[[int, float], None] | None = None,
    unfinished: Unfinished | None = None,
) -> float:
    """Train the adapters on these questions and return the last step's loss, in nats per token.

    The loss is on the answers alone, and the end of text behind them. Questions come in random
    order, pass after pass. With `unfinished` it goes on from what was saved there, on a CPU to the
    same end.
    """
    optimizer = torch.optim.AdamW(
        student.trained, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98), eps=1e-6
    )
    tokens_QT = torch.from_numpy(table.tokens_QT)
    targets_QT = tokens_QT.masked_fill(~torch.from_numpy(table.is_answer_QT), -100)
    n_done, last_loss = unfinished.resume(student, optimizer) if unfinished else (0, 0.0)
    loss, saved_at = torch.tensor(last_loss), time.monotonic()
    batches = islice(_batches(questions, config), n_done, None)
    for step in range(n_done, config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * (1 - step / config.steps)
        rows = next(batches)
        logits_BTV = student.logits(tokens_QT[rows, :-1].to(student.device))
        targets_BT = targets_QT[rows, 1:].to(student.device)
        loss = F.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if on_step is not None and (step + 1) % 100 == 0:
            on_step(step + 1, loss.item())
        if unfinished is not None and time.monotonic() - saved_at >= SAVE_EVERY_S:
            unfinished.save(student, optimizer, step=step + 1, loss=loss.item())
            saved_at = time.monotonic()
    return loss.item()


def _batches(questions: NDArray[np.int64], config: ExtractConfig):
    """Batches of questions without end; of few questions the batch is all of them."""
    rng = np.random.default_rng((config.seed, 1))
    size = min(config.batch, len(questions))
    while True:
        order = rng.permutation(questions)
        for start in range(0, len(order) - size + 1, size):
            yield torch.from_numpy(order[start : start + size])


def ask(student: Student, table: QuestionTable) -> NDArray[np.bool_]:
    """Whether each question is answered word by word [Q]."""

    def logits(tokens_QT: Tensor) -> Tensor:
        return student.logits(tokens_QT.to(student.device))

    return answered(logits, table.tokens_QT, table.is_answer_QT, n_vocab=student.n_vocab)
