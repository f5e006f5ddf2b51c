// Turns a picture upright. Private to this folder.

#ifndef DEWEATHER_MODEL_IMAGE_ORIENT_H_
#define DEWEATHER_MODEL_IMAGE_ORIENT_H_

#include "model/image/image.h"

namespace deweather {

// `orientation` is EXIF's, 1..8: where the stored row 0 and column 0 belong. 2..4 work in place, 5..8
// swap width and height through a second copy.
void MakeUpright(Image& image, int orientation);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_ORIENT_H_
