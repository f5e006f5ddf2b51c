// What kind of file some bytes are, told by their magic number. Private to this folder.

#ifndef DEWEATHER_MODEL_IMAGE_SNIFF_H_
#define DEWEATHER_MODEL_IMAGE_SNIFF_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "model/image/image.h"

namespace deweather {

// INVALID_ARGUMENT "unsupported format HEIC" for kinds known but not read, "not an image" with the
// first bytes for the rest.
absl::StatusOr<ImageFormat> SniffFormat(std::string_view bytes);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_SNIFF_H_
