// Philox4x32-10: random bits as a function of a key and a counter, with no state between calls
// [Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"].
// Free of Torch, one text for host and device.

#ifndef DEWEATHER_MODEL_KERNELS_PHILOX_H_
#define DEWEATHER_MODEL_KERNELS_PHILOX_H_

#include <cstdint>

#ifdef __CUDACC__
#define DW_HOST_DEVICE __host__ __device__
#else
#define DW_HOST_DEVICE
#endif

namespace deweather {

struct PhiloxWords {
  uint32_t word[4];
};

DW_HOST_DEVICE inline PhiloxWords PhiloxRound(PhiloxWords in, uint32_t key0, uint32_t key1) {
  const uint64_t product0 = uint64_t{0xD2511F53} * in.word[0];
  const uint64_t product1 = uint64_t{0xCD9E8D57} * in.word[2];
  return {
      {static_cast<uint32_t>(product1 >> 32) ^ in.word[1] ^ key0, static_cast<uint32_t>(product1),
       static_cast<uint32_t>(product0 >> 32) ^ in.word[3] ^ key1, static_cast<uint32_t>(product0)}};
}

// The low half of `key` is its first word.
DW_HOST_DEVICE inline PhiloxWords Philox(uint64_t key, PhiloxWords counter) {
  uint32_t key0 = static_cast<uint32_t>(key);
  uint32_t key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    counter = PhiloxRound(counter, key0, key1);
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

}  // namespace deweather

#endif  // DEWEATHER_MODEL_KERNELS_PHILOX_H_
