#include "model/image/colour.h"

#include <lcms2.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace deweather {
namespace {

// Half a step of 8 bits: what differs by less is the same picture.
constexpr float kSameColour = 0.5f / 255;

constexpr size_t kHeaderBytes = 128;

struct CloseProfile {
  void operator()(void* profile) const { cmsCloseProfile(profile); }
};
using Profile = std::unique_ptr<void, CloseProfile>;

Profile OpenProfile(std::string_view bytes) {
  return Profile(cmsOpenProfileFromMem(bytes.data(), static_cast<cmsUInt32Number>(bytes.size())));
}

// lcms's own types say "void*" for both.
void* MakeTransform(void* from, cmsUInt32Number from_type, void* to, cmsUInt32Number to_type) {
  return cmsCreateTransform(from, from_type, to, to_type, INTENT_RELATIVE_COLORIMETRIC,
                            cmsFLAGS_NOCACHE | cmsFLAGS_BLACKPOINTCOMPENSATION);
}

void Clip(float* values, int n) {
  for (int i = 0; i < n; ++i) {
    values[i] = values[i] > 0 ? std::min(values[i], 1.0f) : 0.0f;  // NaN becomes 0
  }
}

// A lattice of colours: [n][channels], n = 7^channels.
std::vector<float> ProbeColours(int channels) {
  constexpr int kSteps = 7;
  std::vector<float> colours;
  const int count = channels == 1 ? kSteps : kSteps * kSteps * kSteps;
  for (int i = 0; i < count; ++i) {
    for (int c = 0, rest = i; c < channels; ++c, rest /= kSteps) {
      colours.push_back(static_cast<float>(rest % kSteps) / (kSteps - 1));
    }
  }
  return colours;
}

}  // namespace

ProfileSpace ProfileColourSpace(std::string_view icc_profile) {
  if (icc_profile.size() < kHeaderBytes || OpenProfile(icc_profile) == nullptr) {
    return ProfileSpace::kUnreadable;
  }
  // From the header's bytes: lcms returns an enum, which a damaged profile fills with anything.
  const std::string_view space = icc_profile.substr(16, 4);
  if (space == "GRAY") return ProfileSpace::kGrey;
  return space == "RGB " ? ProfileSpace::kRgb : ProfileSpace::kOther;
}

std::shared_ptr<const ColourConverter> ColourConverter::ForImage(const Image& image) {
  if (image.icc_profile.empty()) return nullptr;
  const int channels = image.channels <= 2 ? 1 : 3;
  const ProfileSpace wanted = channels == 1 ? ProfileSpace::kGrey : ProfileSpace::kRgb;
  if (ProfileColourSpace(image.icc_profile) != wanted) return nullptr;
  std::shared_ptr<const ColourConverter> converter = Make(image.icc_profile, channels);
  return converter == nullptr || converter->IsIdentity() ? nullptr : converter;
}

std::shared_ptr<const ColourConverter> ColourConverter::Make(std::string_view icc_profile,
                                                             int channels) {
  const std::shared_ptr<ColourConverter> converter(new ColourConverter(channels));
  if (channels == 3) converter->matrix_ = ReadMatrixProfile(icc_profile);
  if (converter->matrix_.has_value()) return converter;
  const Profile own = OpenProfile(icc_profile);
  const Profile srgb(cmsCreate_sRGBProfile());
  if (own == nullptr || srgb == nullptr) return nullptr;
  const cmsUInt32Number type = channels == 1 ? TYPE_GRAY_FLT : TYPE_RGB_FLT;
  converter->to_srgb_ = MakeTransform(own.get(), type, srgb.get(), TYPE_RGB_FLT);
  converter->from_srgb_ = MakeTransform(srgb.get(), TYPE_RGB_FLT, own.get(), type);
  if (converter->to_srgb_ == nullptr || converter->from_srgb_ == nullptr) return nullptr;
  return converter;
}

ColourConverter::~ColourConverter() {
  if (to_srgb_ != nullptr) cmsDeleteTransform(to_srgb_);
  if (from_srgb_ != nullptr) cmsDeleteTransform(from_srgb_);
}

void ColourConverter::ToSrgb(const float* in, float* out, int n) const {
  if (matrix_.has_value()) {
    matrix_->ToSrgb(in, out, n);
    return;
  }
  cmsDoTransform(to_srgb_, in, out, static_cast<cmsUInt32Number>(n));
  Clip(out, 3 * n);
}

void ColourConverter::FromSrgb(const float* in, float* out, int n) const {
  if (matrix_.has_value()) {
    matrix_->FromSrgb(in, out, n);
    return;
  }
  cmsDoTransform(from_srgb_, in, out, static_cast<cmsUInt32Number>(n));
  Clip(out, channels_ * n);
}

bool ColourConverter::IsIdentity() const {
  const std::vector<float> colours = ProbeColours(channels_);
  const size_t n = colours.size() / static_cast<size_t>(channels_);
  std::vector<float> srgb(3 * n);
  ToSrgb(colours.data(), srgb.data(), static_cast<int>(n));
  for (size_t i = 0; i < 3 * n; ++i) {
    const float own = channels_ == 1 ? colours[i / 3] : colours[i];
    if (std::fabs(srgb[i] - own) > kSameColour) return false;
  }
  return true;
}

}  // namespace deweather
