// The innermost loops over RGB of 8 bits, which nearly all pictures are, and over restored tiles.
// On x86-64 each is compiled for several instruction sets, and the processor's best is called; all
// give the same bits.
//
// Shapes   a row of `count` pixels, interleaved; planes of `count` floats in [0,1]
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_MODEL_IMAGE_RGB_ROWS_H_
#define DEWEATHER_MODEL_IMAGE_RGB_ROWS_H_

#include <cstddef>
#include <cstdint>

namespace deweather {

// planes = rgb / 255
void SplitRgb(const uint8_t* rgb, size_t count, float* red, float* green, float* blue);

// rgb = I + strength * (planes - I) with I = rgb / 255, clipped and rounded. Planes must be finite.
void MixRgb(const float* red, const float* green, const float* blue, float strength, size_t count,
            uint8_t* rgb);

// out = in with the first and the third sample of every pixel exchanged.
void SwapRedAndBlue(const uint8_t* in, size_t count, uint8_t* out);

// sum += weight * weights ⊙ values
void AddWeighted(const float* values, const float* weights, float weight, size_t count, float* sum);

bool AllFinite(const float* values, size_t count);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_RGB_ROWS_H_
