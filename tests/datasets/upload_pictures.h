// Small pictures in memory, and a server's folder to upload them to.

#ifndef DEWEATHER_TESTS_DATASETS_UPLOAD_PICTURES_H_
#define DEWEATHER_TESTS_DATASETS_UPLOAD_PICTURES_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "model/base/sha256.h"
#include "model/image/codec.h"
#include "tests/new_folder.h"
#include "training/datasets/datasets.h"

namespace deweather {

inline const absl::Time kNoon = absl::FromUnixSeconds(1'700'000'000);

// A PNG of one colour.
inline std::string Png(int width, int height, int colour = 0) {
  Image image;
  image.width = width;
  image.height = height;
  image.samples.assign(size_t{3} * width * height, static_cast<uint8_t>(colour));
  return EncodeImage(image, {.format = ImageFormat::kPng}).value();
}

inline void WriteTo(const std::string& path, const std::string& bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
}

// All of a file, with its true size and checksum.
inline absl::Status Send(DatasetUpload& upload, const std::string& path, const std::string& bytes) {
  const absl::Status begun =
      upload.BeginFile(path, static_cast<int64_t>(bytes.size()), Sha256Hex(bytes));
  return begun.ok() ? upload.Append(bytes) : begun;
}

inline absl::Status Send(DatasetUpload&& upload, const std::string& path,
                         const std::string& bytes) {
  return Send(upload, path, bytes);
}

class DatasetsTest : public testing::Test {
 protected:
  DatasetsTest() : place_(NewFolder()) { options_.min_free_bytes = 0; }

  std::string Folder() const { return place_ + "/datasets"; }

  Datasets& Open() {
    datasets_.reset();
    auto opened = Datasets::Open(Folder(), options_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    datasets_ = *std::move(opened);
    return *datasets_;
  }

  DatasetUpload Begin(const std::string& name, DatasetKind kind = DatasetKind::kClean) {
    auto upload = datasets_->BeginUpload(name, kind);
    EXPECT_TRUE(upload.ok()) << upload.status();
    return *std::move(upload);
  }

  // What lies in DATASETS.
  std::vector<std::string> Entries() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(Folder())) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  const std::string place_;
  DatasetOptions options_;
  std::unique_ptr<Datasets> datasets_;
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_DATASETS_UPLOAD_PICTURES_H_
