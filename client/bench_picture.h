// The pictures that `deweather bench` sends.
//
// Threads  thread-safe: pure functions
// Errors   what the file system or the encoder says, naming the part of the mix
// Cost     of a made picture: 3 bytes a pixel while it is encoded

#ifndef DEWEATHER_CLIENT_BENCH_PICTURE_H_
#define DEWEATHER_CLIENT_BENCH_PICTURE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/bench_plan.h"
#include "model/image/image.h"

namespace deweather {

struct BenchPicture {
  size_t part = 0;    // of the mix
  std::string bytes;  // the file
};

// An RGB picture of colour gradients and a fine wavy texture, without noise: it compresses about as
// a photo does. Variants differ in every part of the picture.
Image MakePicture(int width_px, int height_px, int variant);

// At least one picture of every part, in the order of the parts; of a made part several variants, so
// that a reply to another request of the same size is told from the right one.
absl::StatusOr<std::vector<BenchPicture>> LoadPictures(const std::vector<MixPart>& mix,
                                                       ImageFormat format);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_BENCH_PICTURE_H_
