// Between a picture's own colour space and sRGB. Private to this folder.
//
// Shapes   interleaved floats in [0,1]: [n][channels] in the picture's space, [n][3] in sRGB
// Threads  thread-safe once made

#ifndef DEWEATHER_MODEL_IMAGE_COLOUR_H_
#define DEWEATHER_MODEL_IMAGE_COLOUR_H_

#include <memory>
#include <optional>
#include <string_view>

#include "model/image/image.h"
#include "model/image/matrix_profile.h"

namespace deweather {

// The colour space that a profile says its samples are in.
enum class ProfileSpace { kUnreadable, kGrey, kRgb, kOther };
ProfileSpace ProfileColourSpace(std::string_view icc_profile);

class ColourConverter {
 public:
  // Null when the samples are sRGB as they are: no profile, one that says sRGB to within half an
  // 8-bit step, or one that cannot be read.
  static std::shared_ptr<const ColourConverter> ForImage(const Image& image);

  ~ColourConverter();
  ColourConverter(const ColourConverter&) = delete;
  ColourConverter& operator=(const ColourConverter&) = delete;

  int channels() const { return channels_; }  // 1 or 3

  // Clipped to [0,1]. `in` and `out` must not overlap.
  void ToSrgb(const float* in, float* out, int n) const;
  void FromSrgb(const float* in, float* out, int n) const;

 private:
  explicit ColourConverter(int channels) : channels_(channels) {}
  static std::shared_ptr<const ColourConverter> Make(std::string_view icc_profile, int channels);
  bool IsIdentity() const;

  const int channels_;
  std::optional<MatrixProfile> matrix_;  // the fast way; else lcms's
  void* to_srgb_ = nullptr;              // cmsHTRANSFORM
  void* from_srgb_ = nullptr;            // cmsHTRANSFORM
};

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_COLOUR_H_
