// Keys for randomness that are a function of what it is for.
// Math     each number in turn is mixed into the state by SplitMix64's finaliser [Steele et al. 2014]

#ifndef DEWEATHER_MODEL_BASE_RANDOM_KEY_H_
#define DEWEATHER_MODEL_BASE_RANDOM_KEY_H_

#include <cstdint>
#include <initializer_list>

namespace deweather {

constexpr uint64_t RandomKey(std::initializer_list<uint64_t> numbers) {
  uint64_t state = 0;
  for (const uint64_t number : numbers) {
    state = (state ^ number) + 0x9e3779b97f4a7c15;
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9;
    state = (state ^ (state >> 27)) * 0x94d049bb133111eb;
    state ^= state >> 31;
  }
  return state;
}

// Of what a crop of a step shows, and of a tile's passes of the router: of the same three numbers the same
// key, but one for SplitMix64 and one for Philox. Both are what they always were: runs go on as they began,
// and maps come out as before.
constexpr uint64_t CropKey(uint64_t seed, int64_t step, int64_t crop) {
  return RandomKey({seed, static_cast<uint64_t>(step), static_cast<uint64_t>(crop)});
}
constexpr uint64_t TileKey(uint64_t seed, int64_t x, int64_t y) {
  return RandomKey({seed, static_cast<uint64_t>(x), static_cast<uint64_t>(y)});
}

// Of a crop's passes of the router. Its first number, "dropout" in ASCII, keeps it apart from both.
constexpr uint64_t CropDropoutKey(uint64_t seed, int64_t step, int64_t crop) {
  constexpr uint64_t kDropout = 0x64726f706f7574;
  return RandomKey({kDropout, seed, static_cast<uint64_t>(step), static_cast<uint64_t>(crop)});
}

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_RANDOM_KEY_H_
