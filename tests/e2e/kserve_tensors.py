"""Tensors of the Open Inference Protocol, of pictures and back, whoever carries them."""

from triton_client import triton  # noqa: F401  first: it finds the Python that has ml_dtypes

import ml_dtypes
from harness import np

DTYPES = {"UINT8": np.uint8, "FP32": np.float32, "FP16": np.float16, "BF16": ml_dtypes.bfloat16}
# An input of BF16 is a picture of other values: these are what it has between 0.5 and 1.
STEPS = {"UINT8": 1 / 255, "FP32": 1 / 255, "FP16": 1 / 255, "BF16": 3 / 255}


def tensor_of(pixels, datatype, layout="NCHW"):
    """[1,3,H,W] or [1,H,W,3] of a picture of 8 bits."""
    values = pixels if datatype == "UINT8" else (pixels / np.float32(255)).astype(DTYPES[datatype])
    batch = values[np.newaxis]
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2) if layout == "NCHW" else batch)


def pixels_of(tensor, layout="NCHW"):
    """[H,W,3] floats in [0,1]."""
    values = tensor[0] / np.float32(255) if tensor.dtype == np.uint8 else tensor[0].astype(np.float32)
    return values.transpose(1, 2, 0) if layout == "NCHW" else values
