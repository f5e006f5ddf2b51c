// Small pictures on disk for tests of training.

#ifndef DEWEATHER_TESTS_TRAINING_PICTURES_H_
#define DEWEATHER_TESTS_TRAINING_PICTURES_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>

#include "model/base/file.h"
#include "model/image/codec.h"
#include "model/image/image.h"
#include "tests/new_folder.h"

namespace deweather {

// Smooth colours that depend on `phase`.
inline Image Picture(int width, int height, int phase) {
  Image image;
  image.width = width;
  image.height = height;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const double wave = std::sin(0.11 * x + 0.07 * y * (c + 1) + phase);
        image.samples.push_back(static_cast<uint8_t>(128 + 100 * wave));
      }
    }
  }
  return image;
}

inline void WritePicture(const std::string& path, const Image& image) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  const std::string bytes = EncodeImage(image, {.format = ImageFormat::kPng}).value();
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
}

// `count` pictures 0.png, 1.png, ... in `folder`.
inline void WritePictures(const std::string& folder, int count, int width = 48, int height = 40) {
  for (int i = 0; i < count; ++i) {
    WritePicture(folder + "/" + std::to_string(i) + ".png", Picture(width, height, i));
  }
}

}  // namespace deweather

#endif  // DEWEATHER_TESTS_TRAINING_PICTURES_H_
