"""An autoregressive LSTM that gives every proposal a probability, with its gradient in NumPy.

For one decision after the other, the LSTM reads an embedding of the previous choice, and the decision's softmax
head gives the probabilities of its choices. This is the controller of NASNet (Zoph et al., 2018, appendix A) and
of MnasNet.

The choices of all decisions are columns of one array: choice c of decision d is column `offsets[d] + c`. Arrays
over choices therefore have the shape (batch, sum of decision sizes), without padding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from controllers.arrays import DecisionArray, Floats

_PRODUCT_BLOCK = 128


@dataclass(frozen=True)
class LstmWeights:
    """Views into one flat vector of parameters, or of their gradient."""

    start: Floats
    """Input of the first decision, shape (embedding,)."""
    embedding: Floats
    """Input that follows each choice, shape (choices of all decisions but the last, embedding)."""
    input_kernel: Floats
    """Shape (embedding, 4 hidden): input, forget and output gate, then the candidate."""
    recurrent_kernel: Floats
    """Shape (hidden, 4 hidden)."""
    gate_bias: Floats
    """Shape (4 hidden,)."""
    head_kernel: Floats
    """Shape (choices, hidden)."""
    head_bias: Floats
    """Shape (choices,)."""


@dataclass(frozen=True)
class Trace:
    """What a forward pass keeps for the backward pass."""

    chosen: Floats
    """1 for a choice that was taken, else 0; shape (batch, choices)."""
    log_probabilities: Floats
    """Log-probability of every choice given the choices before it; shape (batch, choices)."""
    inputs: Floats
    """Shape (decisions, batch, embedding)."""
    gates: Floats
    """Values after their activations; shape (decisions, batch, 4 hidden)."""
    cells: Floats
    """Shape (decisions, batch, hidden)."""
    cell_outputs: Floats
    """tanh of the cells; shape (decisions, batch, hidden)."""
    hidden: Floats
    """Shape (decisions, batch, hidden)."""


class LstmPolicy:
    """The policy network.

    Attributes:
        parameters: All weights as one flat vector, which may be changed in place.
        sizes: Number of choices of each decision.
        offsets: Column of each decision's first choice.
    """

    def __init__(
        self,
        decision_sizes: tuple[int, ...],
        *,
        hidden_units: int,
        embedding_units: int,
        init_scale: float,
        generator: np.random.Generator,
    ) -> None:
        self._hidden = hidden_units
        self.sizes = np.array(decision_sizes)
        self.offsets = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        self._columns = [slice(start, start + size) for start, size in zip(self.offsets, self.sizes, strict=True)]
        choices = int(self.sizes.sum())
        self._shapes: tuple[tuple[int, ...], ...] = (
            (embedding_units,),
            (choices - decision_sizes[-1], embedding_units),
            (embedding_units, 4 * hidden_units),
            (hidden_units, 4 * hidden_units),
            (4 * hidden_units,),
            (choices, hidden_units),
            (choices,),
        )
        size = sum(math.prod(shape) for shape in self._shapes)
        self.parameters = generator.uniform(-init_scale, init_scale, size)
        self._weights = self._views(self.parameters)

    def sample(self, temperatures: Floats, generator: np.random.Generator) -> tuple[DecisionArray, Floats]:
        """Draw one proposal for each temperature.

        A temperature of 1 samples from the policy, a higher one from a flattened policy.

        Returns:
            The proposals, shape (draws, decisions), and their log-probabilities under the policy itself, whatever
            the temperature, shape (draws,).
        """
        count = len(temperatures)
        weights = self._weights
        proposals = np.empty((count, len(self.sizes)), dtype=np.int64)
        log_probabilities = np.zeros(count)
        rows = np.arange(count)
        inputs = np.broadcast_to(weights.start, (count, len(weights.start)))
        cell = hidden = np.zeros((count, self._hidden))
        for decision, columns in enumerate(self._columns):
            _, cell, _, hidden = self._step(inputs @ weights.input_kernel + weights.gate_bias, cell, hidden)
            logits = hidden @ weights.head_kernel[columns].T + weights.head_bias[columns]
            logits -= logits.max(axis=1, keepdims=True)
            cumulative = np.exp(logits / temperatures[:, None]).cumsum(axis=1)
            threshold = generator.random(count) * cumulative[:, -1]
            choice = (cumulative < threshold[:, None]).sum(axis=1)
            proposals[:, decision] = choice
            log_probabilities += logits[rows, choice] - np.log(np.exp(logits).sum(axis=1))
            if decision + 1 < len(self._columns):
                inputs = weights.embedding[columns.start + choice]
        return proposals, log_probabilities

    def forward(self, proposals: DecisionArray) -> Trace:
        """Evaluate proposals of shape (batch, decisions)."""
        weights = self._weights
        batch, length = proposals.shape
        flat = proposals + self.offsets
        chosen = np.zeros((batch, len(weights.head_bias)))
        np.put_along_axis(chosen, flat, 1.0, axis=1)
        inputs = np.empty((length, batch, len(weights.start)))
        inputs[0] = weights.start
        inputs[1:] = weights.embedding[flat[:, :-1].T]
        input_sums = inputs @ weights.input_kernel + weights.gate_bias
        gates = np.empty((length, batch, 4 * self._hidden))
        cells, cell_outputs, hidden = (np.empty((length, batch, self._hidden)) for _ in range(3))
        logits = np.empty_like(chosen)
        last_cell = last_hidden = np.zeros((batch, self._hidden))
        for decision, columns in enumerate(self._columns):
            gates[decision], cells[decision], cell_outputs[decision], hidden[decision] = self._step(
                input_sums[decision], last_cell, last_hidden
            )
            last_cell, last_hidden = cells[decision], hidden[decision]
            logits[:, columns] = last_hidden @ weights.head_kernel[columns].T
        logits += weights.head_bias
        return Trace(chosen, self._log_softmax(logits), inputs, gates, cells, cell_outputs, hidden)

    def backward(self, trace: Trace, logit_gradient: Floats) -> Floats:
        """Return the gradient of a loss with respect to `parameters`.

        Args:
            trace: What the forward pass returned.
            logit_gradient: Gradient of the loss with respect to the heads' logits, shape (batch, choices).
        """
        weights = self._weights
        result = np.zeros_like(self.parameters)
        gradient = self._views(result)
        # Local derivatives for all decisions at once; only the chain from decision to decision needs the loop.
        input_gate, forget_gate, output_gate, candidate = self._split_gates(trace.gates)
        last_cells = np.concatenate([np.zeros_like(trace.cells[:1]), trace.cells[:-1]])
        cell_to_input = candidate * input_gate * (1 - input_gate)
        cell_to_forget = last_cells * forget_gate * (1 - forget_gate)
        cell_to_candidate = input_gate * (1 - candidate**2)
        hidden_to_output = trace.cell_outputs * output_gate * (1 - output_gate)
        hidden_to_cell = output_gate * (1 - trace.cell_outputs**2)
        sum_gradients = np.empty_like(trace.gates)
        to_input, to_forget, to_output, to_candidate = self._split_gates(sum_gradients)
        hidden_gradient = cell_gradient = np.zeros_like(trace.hidden[0])
        for decision in reversed(range(len(self._columns))):
            columns = self._columns[decision]
            gradient.head_kernel[columns] = logit_gradient[:, columns].T @ trace.hidden[decision]
            hidden_gradient = hidden_gradient + logit_gradient[:, columns] @ weights.head_kernel[columns]
            cell_gradient = cell_gradient + hidden_gradient * hidden_to_cell[decision]
            np.multiply(cell_gradient, cell_to_input[decision], out=to_input[decision])
            np.multiply(cell_gradient, cell_to_forget[decision], out=to_forget[decision])
            np.multiply(hidden_gradient, hidden_to_output[decision], out=to_output[decision])
            np.multiply(cell_gradient, cell_to_candidate[decision], out=to_candidate[decision])
            cell_gradient = cell_gradient * forget_gate[decision]
            hidden_gradient = _product(sum_gradients[decision], weights.recurrent_kernel.T)
        gradient.head_bias[:] = logit_gradient.sum(axis=0)
        gradient.gate_bias[:] = sum_gradients.sum(axis=(0, 1))
        gradient.input_kernel[:] = _product(_flat(trace.inputs).T, _flat(sum_gradients))
        gradient.recurrent_kernel[:] = _product(_flat(trace.hidden[:-1]).T, _flat(sum_gradients[1:]))
        input_gradients = _product(sum_gradients, weights.input_kernel.T)
        gradient.start[:] = input_gradients[0].sum(axis=0)
        for decision, columns in enumerate(self._columns[:-1]):
            gradient.embedding[columns] = trace.chosen[:, columns].T @ input_gradients[decision + 1]
        return result

    def sum_choices(self, values: Floats) -> Floats:
        """Sum values, shape (batch, choices), over each decision's choices; return shape (batch, decisions)."""
        return np.add.reduceat(values, self.offsets, axis=1)

    def spread(self, values: Floats) -> Floats:
        """Repeat values, shape (batch, decisions), for each decision's choices; return shape (batch, choices)."""
        return np.repeat(values, self.sizes, axis=1)

    def _log_softmax(self, logits: Floats) -> Floats:
        shifted = logits - self.spread(np.maximum.reduceat(logits, self.offsets, axis=1))
        return shifted - self.spread(np.log(self.sum_choices(np.exp(shifted))))

    def _step(self, input_sum: Floats, cell: Floats, hidden: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Advance the LSTM by one decision; return gates, cell, tanh of the cell and hidden state."""
        units = self._hidden
        gates = _product(hidden, self._weights.recurrent_kernel)
        gates += input_sum
        # sigmoid(x) = (1 + tanh(x / 2)) / 2 cannot overflow, and one call of tanh serves all gates.
        sigmoids = gates[:, : 3 * units]
        sigmoids *= 0.5
        np.tanh(gates, out=gates)
        sigmoids += 1.0
        sigmoids *= 0.5
        input_gate, forget_gate, output_gate, candidate = self._split_gates(gates)
        cell = forget_gate * cell + input_gate * candidate
        cell_output = np.tanh(cell)
        return gates, cell, cell_output, output_gate * cell_output

    def _split_gates(self, gates: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        units = self._hidden
        return (
            gates[..., :units],
            gates[..., units : 2 * units],
            gates[..., 2 * units : 3 * units],
            gates[..., 3 * units :],
        )

    def _views(self, vector: Floats) -> LstmWeights:
        ends = np.cumsum([math.prod(shape) for shape in self._shapes])
        parts = np.split(vector, ends[:-1])
        return LstmWeights(*(part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)))


def _flat(values: Floats) -> Floats:
    return values.reshape(-1, values.shape[-1])


def _product(left: Floats, right: Floats) -> Floats:
    """Return the matrix product, summed in blocks of the inner dimension.

    The order in which OpenBLAS adds up longer sums depends on its number of threads; within a block it does not.
    So a run that is resumed or replayed with another number of threads repeats exactly.
    """
    result: Floats = left[..., :_PRODUCT_BLOCK] @ right[:_PRODUCT_BLOCK]
    for start in range(_PRODUCT_BLOCK, len(right), _PRODUCT_BLOCK):
        block = slice(start, start + _PRODUCT_BLOCK)
        result += left[..., block] @ right[block]
    return result
