"""Reads the weights that our programs write."""

import json
import pathlib
import struct

import torch


def read_safetensors(path):
    """Tensors of a file that holds f32 alone, by name."""
    data = bytearray(pathlib.Path(path).read_bytes())
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        values = torch.frombuffer(data, dtype=torch.float32, count=(end - begin) // 4, offset=begin)
        tensors[name] = values.view(entry["shape"])
    return tensors
