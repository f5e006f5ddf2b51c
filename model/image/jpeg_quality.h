// Which quality setting a JPEG was written with, told from its quantisation table. Private to this
// folder.

#ifndef DEWEATHER_MODEL_IMAGE_JPEG_QUALITY_H_
#define DEWEATHER_MODEL_IMAGE_JPEG_QUALITY_H_

#include <cstdint>

namespace deweather {

// 1..100: the setting of libjpeg whose luma table is nearest. `table` has 64 steps in natural order;
// exact for files of libjpeg, a fair match for other encoders' tables.
int EstimateJpegQuality(const uint16_t* table);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_JPEG_QUALITY_H_
