"""The MoFME network of model/network.h in plain PyTorch, under the same parameter names.

What it computes: pictures [B,3,H,W] in [0,1], seen as 2 I - 1; a convolutional head, p x p patches as
tokens, blocks of attention and feature-modulated experts of which each token keeps K, tokens back to
pixels, a convolutional tail that is added to the pictures. Only kept experts are computed.
Nothing here is tuned by hand: layers, scaled_dot_product_attention, one sort of the routed tokens.
"""

import dataclasses

import torch
from torch import nn
from torch.nn import functional as F


@dataclasses.dataclass(frozen=True)
class Config:
    embed_dim: int = 192
    depth: int = 2
    heads: int = 4
    head_dim: int = 48
    patch: int = 8
    channels: int = 16
    tail_scale: int = 2
    mlp_ratio: int = 4
    experts: int = 16
    kept: int = 4
    kind: str = "fme"
    residual: bool = True


class ResBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv1(F.relu(self.conv0(x)))


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, inner = config.heads, config.heads * config.head_dim
        self.qkv = nn.Linear(config.embed_dim, 3 * inner, bias=False)
        self.out = nn.Linear(inner, config.embed_dim)

    def forward(self, x):  # [B,n,D]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Modulate(nn.Module):
    """E linear layers D -> 2D, each on the tokens that keep its expert."""

    def __init__(self, config):
        super().__init__()
        bound = config.embed_dim ** -0.5
        shape = (config.experts, 2 * config.embed_dim, config.embed_dim)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(shape[:2]).uniform_(-bound, bound))

    def forward(self, rows, counts):  # [R,D] grouped by expert -> [R,2D]
        groups = zip(rows.split(counts), self.weight.unbind(0), self.bias.unbind(0))
        return torch.cat([F.linear(group, w, b) for group, w, b in groups])


class FeedForward(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden = config.embed_dim * config.mlp_ratio
        self.up = nn.Linear(config.embed_dim, hidden)
        self.down = nn.Linear(hidden, config.embed_dim)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.embed_dim
        self.experts_count, self.kept = config.experts, config.kept
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(config)
        self.router = nn.Linear(width, config.experts)
        self.ffn_norm = nn.LayerNorm(width)
        self.stem = nn.ModuleDict({"a": nn.Linear(width, width), "b": nn.Linear(width, width)})
        self.experts = nn.ModuleDict({"modulate": Modulate(config)})
        self.ffn = FeedForward(config)

    def route(self, x):
        """Logits [N,E] in f32, the K kept experts [N,K] and their softmax."""
        with torch.autocast(x.device.type, enabled=False):
            logits = self.router(x.float())
        largest, kept = logits.topk(self.kept, -1)
        return logits, kept, largest.softmax(-1)

    def mix(self, x, kept, weights):  # [N,D] -> [N,D]
        z = self.ffn_norm(x)
        s = F.gelu(self.stem["a"](z)) * self.stem["b"](z)
        order = kept.flatten().argsort(stable=True)  # rows grouped by expert
        counts = kept.flatten().bincount(minlength=self.experts_count).tolist()
        token = order // self.kept
        rows = s[token]
        gamma, beta = self.experts["modulate"](rows, counts).chunk(2, -1)
        weighted = (gamma * rows + beta) * weights.flatten()[order, None]
        return self.ffn(weighted.new_zeros(s.shape).index_add(0, token, weighted))

    def forward(self, x):  # [B,n,D]
        x = x + self.attention(self.attention_norm(x))
        tokens = x.flatten(0, 1)
        logits, kept, weights = self.route(tokens)
        return x + self.mix(tokens, kept, weights).view_as(x), (logits, kept)


class Network(nn.Module):
    block = Block

    def __init__(self, config, memory_format=torch.channels_last):
        super().__init__()
        self.memory_format, self.residual = memory_format, config.residual
        self.patch, self.tail_channels = config.patch, config.channels * config.tail_scale
        width, wide = config.channels, self.tail_channels
        self.head = nn.ModuleDict({"conv": nn.Conv2d(3, width, 3, padding=1),
                                   "block0": ResBlock(width), "block1": ResBlock(width)})
        self.embed = nn.ModuleDict({
            "conv": nn.Conv2d(width, config.embed_dim, config.patch, config.patch),
            "norm": nn.LayerNorm(config.embed_dim)})
        self.blocks = nn.ModuleList(self.block(config) for _ in range(config.depth))
        self.expand = nn.Linear(config.embed_dim, wide * config.patch ** 2)
        self.tail = nn.ModuleDict({
            "block0": ResBlock(wide), "conv0": nn.Conv2d(wide, wide // 2, 3, padding=1),
            "block1": ResBlock(wide // 2), "conv1": nn.Conv2d(wide // 2, 3, 3, padding=1)})

    def forward(self, pictures):
        """The restored pictures, and (logits, kept) of every block that routes."""
        x = (pictures * 2 - 1).contiguous(memory_format=self.memory_format)
        x = self.head["block1"](self.head["block0"](self.head["conv"](x)))
        x = self.embed["conv"](x)
        rows, columns = x.shape[2:]
        x = self.embed["norm"](x.flatten(2).transpose(1, 2))
        gates = []
        for block in self.blocks:
            x, *gate = block(x)
            gates += gate
        p = self.patch
        x = self.expand(x).view(-1, rows, columns, p, p, self.tail_channels)
        x = x.transpose(2, 3).reshape(-1, rows * p, columns * p, self.tail_channels)
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=self.memory_format)  # no copy: channels-last
        x = self.tail["block0"](x)
        x = self.tail["conv1"](self.tail["block1"](self.tail["conv0"](x)))
        return pictures + x.float() if self.residual else x.float().sigmoid(), gates
