// The map of a router's uncertainty as a picture for people.
//
// Math     colour(value / most): the colours begin at 0 and end at the largest value of the map; they are
//          viridis [van der Walt and Smith 2015], perceptually uniform
// Threads  thread-safe: pure functions
// Errors   FAILED_PRECONDITION there is no map; DATA_LOSS it is none of a picture of that size

#ifndef DEWEATHER_CLIENT_HEAT_MAP_H_
#define DEWEATHER_CLIENT_HEAT_MAP_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace deweather {

inline constexpr char kHeatColours[] = "viridis";

// Of the tokens' uncertainty: the sum over the kept experts of a probability's standard deviation.
struct HeatScale {
  double mean = 0;
  double most = 0;
  bool saturated = false;  // the map holds at most 1, and some tokens may have more
};

struct HeatMap {
  std::string png;  // RGB, of the picture's size: a token is a square
  HeatScale scale;
};

// Of RestoreResponse.uncertainty_map. The picture's size is that of the reply, and the token's side that of
// its Routing.
absl::StatusOr<HeatMap> DrawHeatMap(const std::string& map_png, int width_px, int height_px,
                                    int token_px);

// Red, green, blue. REQUIRES: 0 <= share <= 1.
std::array<uint8_t, 3> HeatColour(double share);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_HEAT_MAP_H_
