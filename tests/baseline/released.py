"""The MoFME network as its authors' release computes it, for comparison with ours.

Written from the description of model/network.h, out of the layers of network.py. What differs from that
one is what the release does: each expert works on every token, and its weight is zero where a token does
not keep it; pictures are NCHW. Kinds of experts: dense, fme, ffn (model/experts.h).
"""

import torch
from network import Block, Config, FeedForward, Network
from torch import nn
from torch.nn import functional as F


class ModulatingExpert(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gamma = nn.Linear(config.embed_dim, config.embed_dim)
        self.beta = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, s):
        return self.gamma(s) * s + self.beta(s)


class FeedForwardExpert(FeedForward):
    def __init__(self, config):
        super().__init__(config)
        self.norm = nn.LayerNorm(config.embed_dim)

    def forward(self, x):
        return super().forward(self.norm(x))


class ReleasedBlock(Block):
    def __init__(self, config):
        super().__init__(config)
        self.kind = config.kind
        unused = {"dense": ("router", "stem", "experts"), "ffn": ("ffn_norm", "stem", "ffn"), "fme": ()}
        for name in unused[self.kind]:
            delattr(self, name)
        if self.kind != "dense":
            expert = {"fme": ModulatingExpert, "ffn": FeedForwardExpert}[self.kind]
            self.experts = nn.ModuleList(expert(config) for _ in range(config.experts))

    def mix(self, x, kept, weights):  # [N,D] -> [N,D]
        dense = weights.new_zeros(len(x), self.experts_count).scatter(1, kept, weights)  # [N,E]
        if self.kind == "ffn":
            return self.weighted_sum(x, dense)
        z = self.ffn_norm(x)
        return self.ffn(self.weighted_sum(F.gelu(self.stem["a"](z)) * self.stem["b"](z), dense))

    def weighted_sum(self, x, weights):
        # The fastest of the plain ways: a stack of all outputs, [N,E,D], takes 1.3 times as long, or
        # twice in bf16.
        total = 0
        for expert, weight in zip(self.experts, weights.split(1, 1)):
            made = expert(x)
            total = total + weight.to(made.dtype) * made
        return total

    def forward(self, x):  # [B,n,D]
        if self.kind != "dense":
            return super().forward(x)
        x = x + self.attention(self.attention_norm(x))
        return (x + self.ffn(self.ffn_norm(x)),)


class ReleasedNetwork(Network):
    block = ReleasedBlock

    def __init__(self, config, memory_format=torch.contiguous_format):
        super().__init__(config, memory_format)


def paper_config(kind, experts, kept):
    """The sizes of the paper's Section 4, those of `deweather-train bench`."""
    return Config(embed_dim=384, depth=2, heads=8, head_dim=64, patch=8, channels=32, tail_scale=4,
                  experts=max(experts, 1), kept=kept, kind=kind, residual=False)


def by_expert(parameters):
    """Our parameters, in which experts are stacked, under the names of a ReleasedNetwork."""
    named = {}
    for name, value in parameters.items():
        block, _, layer = name.partition(".experts.")
        if not layer:
            named[name] = value
            continue
        for expert, of_one in enumerate(value):
            prefix = f"{block}.experts.{expert}"
            if layer.startswith("modulate."):
                kind = layer.removeprefix("modulate.")
                named[f"{prefix}.gamma.{kind}"], named[f"{prefix}.beta.{kind}"] = of_one.chunk(2)
            else:
                named[f"{prefix}.{layer}"] = of_one
    return named
