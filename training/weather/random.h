// Random numbers that are the same everywhere: those of <random> differ between standard libraries.
// SplitMix64 [Steele, Lea & Flood 2014].

#ifndef DEWEATHER_TRAINING_WEATHER_RANDOM_H_
#define DEWEATHER_TRAINING_WEATHER_RANDOM_H_

#include <cmath>
#include <cstdint>

namespace deweather {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }

  double Uniform() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }  // [0, 1)
  double Uniform(double low, double high) { return low + (high - low) * Uniform(); }
  double LogUniform(double low, double high) {
    return low * std::exp(std::log(high / low) * Uniform());
  }
  // In [0, count); count < 2^53.
  int64_t Below(int64_t count) {
    return static_cast<int64_t>(Uniform() * static_cast<double>(count));
  }
  bool Chance(double probability) { return Uniform() < probability; }

  // Four uniform numbers have variance 1/3; their sum is close to a bell and never far out.
  double Normal() {
    const uint64_t bits = Bits();
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<double>((bits >> (16 * i)) & 0xffff);
    return (sum / 65535.0 - 2.0) * 1.7320508075688772;
  }

  double Exponential() { return -std::log(1.0 - Uniform()); }

 private:
  uint64_t state_;
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_WEATHER_RANDOM_H_
