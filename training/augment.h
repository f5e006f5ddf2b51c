// Flips and quarter turns, the eight symmetries of a square.

#ifndef DEWEATHER_TRAINING_AUGMENT_H_
#define DEWEATHER_TRAINING_AUGMENT_H_

#include <vector>

namespace deweather {

// `planes` [3][side][side]; `symmetry` in [0,8): bit 0 mirrors, bit 1 flips, bit 2 transposes, in
// this order. 0 changes nothing.
void ApplySymmetry(int symmetry, int side, std::vector<float>& planes);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_AUGMENT_H_
