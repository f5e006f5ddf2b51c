#include "model/image/rgb_rows.h"

#include <algorithm>
#include <bit>

// Compiled without contraction to fused multiply-adds, which would give other bits, and without regard
// to floating-point traps, which would keep the compiler from making vectors (CMakeLists.txt).
// ThreadSanitizer dies of functions that are chosen while the program is loaded.
#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define DW_EACH_ISA __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define DW_EACH_ISA
#endif

namespace deweather {
namespace {

// So many pixels stay in the first-level cache between two passes.
constexpr size_t kRun = 256;

}  // namespace

DW_EACH_ISA
void SplitRgb(const uint8_t* __restrict rgb, size_t count, float* __restrict red,
              float* __restrict green, float* __restrict blue) {
  for (size_t i = 0; i < count; ++i) {
    red[i] = static_cast<float>(rgb[3 * i]) / 255.0f;
    green[i] = static_cast<float>(rgb[3 * i + 1]) / 255.0f;
    blue[i] = static_cast<float>(rgb[3 * i + 2]) / 255.0f;
  }
}

namespace {

// One plane of a run: out = own + strength * (restored - own) in 0..255.
DW_EACH_ISA
void MixPlane(const float* __restrict own, const float* __restrict restored, float strength,
              size_t count, uint8_t* __restrict out) {
  for (size_t i = 0; i < count; ++i) {
    const float mixed = own[i] + strength * (restored[i] - own[i]);
    const float clipped = std::min(std::max(mixed, 0.0f), 1.0f);
    out[i] = static_cast<uint8_t>(static_cast<int>(clipped * 255.0f + 0.5f));
  }
}

}  // namespace

DW_EACH_ISA
void JoinPlanes(const uint8_t* __restrict red, const uint8_t* __restrict green,
                const uint8_t* __restrict blue, size_t count, uint8_t* __restrict rgb) {
  for (size_t i = 0; i < count; ++i) {
    rgb[3 * i] = red[i];
    rgb[3 * i + 1] = green[i];
    rgb[3 * i + 2] = blue[i];
  }
}

DW_EACH_ISA
void JoinPlanes(const uint16_t* __restrict red, const uint16_t* __restrict green,
                const uint16_t* __restrict blue, size_t count, uint16_t* __restrict rgb) {
  for (size_t i = 0; i < count; ++i) {
    rgb[3 * i] = red[i];
    rgb[3 * i + 1] = green[i];
    rgb[3 * i + 2] = blue[i];
  }
}

DW_EACH_ISA
void SplitPlanes(const uint8_t* __restrict rgb, size_t count, uint8_t* __restrict red,
                 uint8_t* __restrict green, uint8_t* __restrict blue) {
  for (size_t i = 0; i < count; ++i) {
    red[i] = rgb[3 * i];
    green[i] = rgb[3 * i + 1];
    blue[i] = rgb[3 * i + 2];
  }
}

DW_EACH_ISA
void SplitPlanes(const uint16_t* __restrict rgb, size_t count, uint16_t* __restrict red,
                 uint16_t* __restrict green, uint16_t* __restrict blue) {
  for (size_t i = 0; i < count; ++i) {
    red[i] = rgb[3 * i];
    green[i] = rgb[3 * i + 1];
    blue[i] = rgb[3 * i + 2];
  }
}

void MixRgb(const float* red, const float* green, const float* blue, float strength, size_t count,
            uint8_t* rgb) {
  float own[3][kRun];
  uint8_t mixed[3][kRun];
  for (size_t at = 0; at < count; at += kRun) {
    const size_t run = std::min(kRun, count - at);
    SplitRgb(rgb + 3 * at, run, own[0], own[1], own[2]);
    MixPlane(own[0], red + at, strength, run, mixed[0]);
    MixPlane(own[1], green + at, strength, run, mixed[1]);
    MixPlane(own[2], blue + at, strength, run, mixed[2]);
    JoinPlanes(mixed[0], mixed[1], mixed[2], run, rgb + 3 * at);
  }
}

DW_EACH_ISA
void SwapRedAndBlue(const uint8_t* __restrict in, size_t count, uint8_t* __restrict out) {
  for (size_t i = 0; i < 3 * count; i += 3) {
    out[i] = in[i + 2];
    out[i + 1] = in[i + 1];
    out[i + 2] = in[i];
  }
}

DW_EACH_ISA
void AddWeighted(const float* __restrict values, const float* __restrict weights, float weight,
                 size_t count, float* __restrict sum) {
  for (size_t i = 0; i < count; ++i) sum[i] += weight * weights[i] * values[i];
}

// Looks at exponents, so that the compiler makes vectors of it.
DW_EACH_ISA
bool AllFinite(const float* values, size_t count) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t bad = 0;
  for (size_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<uint32_t>(values[i]);
    bad |= static_cast<uint32_t>((bits & kExponent) == kExponent);
  }
  return bad == 0;
}

}  // namespace deweather
