// The innermost loops over RGB of 8 bits, which nearly all pictures are, over restored tiles, and over tensors.
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

// The same samples, pixel by pixel or in planes.
void JoinPlanes(const uint8_t* red, const uint8_t* green, const uint8_t* blue, size_t count,
                uint8_t* rgb);
void JoinPlanes(const uint16_t* red, const uint16_t* green, const uint16_t* blue, size_t count,
                uint16_t* rgb);
void SplitPlanes(const uint8_t* rgb, size_t count, uint8_t* red, uint8_t* green, uint8_t* blue);
void SplitPlanes(const uint16_t* rgb, size_t count, uint16_t* red, uint16_t* green, uint16_t* blue);

// out = in with the first and the third sample of every pixel exchanged.
void SwapRedAndBlue(const uint8_t* in, size_t count, uint8_t* out);

// sum += weight * weights ⊙ values
void AddWeighted(const float* values, const float* weights, float weight, size_t count, float* sum);

bool AllFinite(const float* values, size_t count);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_RGB_ROWS_H_
