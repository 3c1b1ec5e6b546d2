"""The loss that PPO minimizes over a batch of results and the best proposals, and its gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controllers.arrays import DecisionArray, Floats
from controllers.policy.lstm import LstmPolicy

MAX_LOG_RATIO = 10.0
"""Log-ratios of new to old probability are clamped to +-10, because exp of a larger one may overflow."""


@dataclass(frozen=True)
class LossTerms:
    """The settings of the loss."""

    clip_ratio: float
    entropy_weight: float
    priority_queue_weight: float


@dataclass(frozen=True)
class PpoBatch:
    """The data that the loss is computed on."""

    proposals: DecisionArray
    """Told proposals, shape (batch, decisions)."""
    old_log_probabilities: Floats
    """Log-probabilities of the proposals when they were proposed, shape (batch,)."""
    advantages: Floats
    """Shape (batch,)."""
    elite: DecisionArray
    """The best proposals so far, shape (elite, decisions); may be empty."""


def loss_and_gradient(policy: LstmPolicy, batch: PpoBatch, terms: LossTerms) -> tuple[float, Floats]:
    """Return the loss and its gradient with respect to the policy's parameters.

    The loss is the sum of
    - the clipped surrogate (Schulman et al., 2017, equation 7), with a whole proposal as one action:
      -mean(min(ratio * advantage, clip(ratio, 1 - clip_ratio, 1 + clip_ratio) * advantage));
    - -entropy_weight * the entropy of the decisions, summed over decisions and averaged over the batch;
    - -priority_queue_weight * the mean log-probability of the elite (Abolafia et al., 2018, equation 4).
    """
    count, elite_count = len(batch.proposals), len(batch.elite)
    trace = policy.forward(np.concatenate([batch.proposals, batch.elite]))
    log_probabilities = (trace.chosen * trace.log_probabilities).sum(axis=1)

    log_ratios = log_probabilities[:count] - batch.old_log_probabilities
    ratios = np.exp(np.clip(log_ratios, -MAX_LOG_RATIO, MAX_LOG_RATIO))
    unclipped = ratios * batch.advantages
    clipped = np.clip(ratios, 1 - terms.clip_ratio, 1 + terms.clip_ratio) * batch.advantages
    loss = -float(np.minimum(unclipped, clipped).mean())
    moves = (unclipped <= clipped) & (np.abs(log_ratios) < MAX_LOG_RATIO)
    # Derivative of the loss with respect to each proposal's log-probability.
    slopes = np.zeros(count + elite_count)
    slopes[:count] = np.where(moves, -unclipped, 0.0) / count

    if elite_count:
        loss -= terms.priority_queue_weight * float(log_probabilities[count:].mean())
        slopes[count:] = -terms.priority_queue_weight / elite_count

    probabilities = np.exp(trace.log_probabilities)
    logit_gradient = slopes[:, None] * (trace.chosen - probabilities)

    entropy_loss, entropy_gradient = entropy_term(policy, trace.log_probabilities[:count], terms.entropy_weight)
    logit_gradient[:count] += entropy_gradient
    return loss + entropy_loss, policy.backward(trace, logit_gradient)


def entropy_term(policy: LstmPolicy, log_probabilities: Floats, weight: float) -> tuple[float, Floats]:
    """Return -weight * the entropy, and its gradient.

    The entropy is summed over decisions and averaged over the batch.

    Args:
        policy: The policy that gave the probabilities.
        log_probabilities: Log-probabilities of all choices, shape (batch, choices).
        weight: Weight of the term in the loss.

    Returns:
        The term, and its gradient with respect to the heads' logits, shape (batch, choices).
    """
    probabilities = np.exp(log_probabilities)
    entropies = -policy.sum_choices(probabilities * log_probabilities)
    gradient = (weight / len(log_probabilities)) * probabilities * (log_probabilities + policy.spread(entropies))
    return -weight * float(entropies.sum(axis=1).mean()), gradient
