// A key for randomness that is a function of what it is for.
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

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_RANDOM_KEY_H_
