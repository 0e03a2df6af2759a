"""A bidirectional GRU stack that trains faster on a CPU than `nn.GRU` does, from the same parameters.

`nn.GRU` on a CPU records every gate of every step of each direction for autograd, and at the sorter's size
(32 units) that bookkeeping costs more than the arithmetic. Here both directions share one batched product a
step, the backward pass is written out, and the weights' gradients are one product over all steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["bidirectional_gru"]


def bidirectional_gru(rnn: nn.GRU, x: Tensor) -> Tensor:
    """What `rnn(x)[0]` gives for a batch-first, bidirectional GRU with biases, differentiable once.

    `x` is [batch, time, input]; the result is [batch, time, 2 * hidden].
    """
    steps = x.transpose(0, 1)
    for layer in range(rnn.num_layers):
        steps = _layer(rnn, layer, steps)
    return steps.transpose(0, 1)


def _layer(rnn: nn.GRU, layer: int, x: Tensor) -> Tensor:
    """One layer, both directions: [time, batch, input] -> [time, batch, 2 * hidden]."""
    hidden = rnn.hidden_size
    gates, weights, biases = [], [], []
    for suffix in ("", "_reverse"):
        w_ih, w_hh, b_ih, b_hh = (
            getattr(rnn, f"{kind}_l{layer}{suffix}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        # Reset and update gates add their two biases; only the candidate's hidden bias stands inside r * (...).
        folded = torch.cat((b_ih[: 2 * hidden] + b_hh[: 2 * hidden], b_ih[2 * hidden :]))
        gate = nn.functional.linear(x, w_ih, folded)
        gates.append(gate.flip(0) if suffix else gate)
        weights.append(w_hh.t())
        biases.append(torch.cat((torch.zeros_like(b_hh[: 2 * hidden]), b_hh[2 * hidden :])))
    bias = torch.stack(biases)[:, None]
    out: Tensor = _Recurrence.apply(torch.stack(gates, 1), torch.stack(weights), bias)  # type: ignore[no-untyped-call]
    return torch.cat((out[:, 0], out[:, 1].flip(0)), -1)


class _Recurrence(torch.autograd.Function):
    """The GRU recurrence over [time, direction, batch, 3 * hidden] gates (order: reset, update, candidate)."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        time, directions, batch, width = gates.shape
        hidden = width // 3
        recurrent = gates.new_empty(time, directions, batch, width)
        reset_update = gates.new_empty(time, directions, batch, 2 * hidden)
        candidate = gates.new_empty(time, directions, batch, hidden)
        states = gates.new_zeros(time + 1, directions, batch, hidden)
        state = states[0]
        for g_ru, g_n, h, h_ru, h_n, ru, r, z, n, new in zip(
            gates[..., : 2 * hidden].unbind(), gates[..., 2 * hidden :].unbind(),
            recurrent.unbind(), recurrent[..., : 2 * hidden].unbind(), recurrent[..., 2 * hidden :].unbind(),
            reset_update.unbind(), reset_update[..., :hidden].unbind(), reset_update[..., hidden:].unbind(),
            candidate.unbind(), states[1:].unbind(), strict=True,
        ):  # fmt: skip
            torch.baddbmm(bias, state, weight, out=h)
            torch.add(g_ru, h_ru, out=ru).sigmoid_()
            torch.addcmul(g_n, r, h_n, out=n).tanh_()
            state = torch.lerp(n, state, z, out=new)
        ctx.save_for_backward(recurrent[..., 2 * hidden :], reset_update, candidate, states, weight)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        recurrent, reset_update, candidate, states, weight = ctx.saved_tensors
        hidden = candidate.shape[-1]
        reset, update = reset_update[..., :hidden], reset_update[..., hidden:]
        before = states[:-1]
        # What does not depend on the gradient, for all steps at once.
        to_candidate = (1 - update) * (1 - candidate * candidate)
        to_update = (before - candidate) * update * (1 - update)
        to_reset = recurrent * reset * (1 - reset)
        d_gates = torch.empty_like(torch.cat((reset_update, candidate), -1))
        d_recurrent = torch.empty_like(d_gates)
        transposed = weight.transpose(1, 2).contiguous()
        flow = torch.zeros_like(before[0])
        parts = (
            grads[0].unbind(), to_candidate.unbind(), to_update.unbind(), to_reset.unbind(),
            reset.unbind(), update.unbind(), d_recurrent.unbind(), d_recurrent[..., :hidden].unbind(),
            d_recurrent[..., hidden : 2 * hidden].unbind(), d_recurrent[..., 2 * hidden :].unbind(),
            d_gates[..., 2 * hidden :].unbind(),
        )  # fmt: skip
        for step in reversed(range(len(before))):
            g, a_n, a_z, a_r, r, z, d_h, d_r, d_z, d_hn, d_n = (part[step] for part in parts)
            flow = flow + g
            torch.mul(flow, a_n, out=d_n)
            torch.mul(flow, a_z, out=d_z)
            torch.mul(d_n, a_r, out=d_r)
            torch.mul(d_n, r, out=d_hn)
            flow = torch.baddbmm(flow.mul_(z), d_h, transposed)
        d_gates[..., : 2 * hidden] = d_recurrent[..., : 2 * hidden]
        flat_states, flat_grads = (t.transpose(0, 1).flatten(1, 2) for t in (before, d_recurrent))
        return d_gates, torch.bmm(flat_states.transpose(1, 2), flat_grads), flat_grads.sum(1, keepdim=True)
