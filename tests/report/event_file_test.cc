#include "training/report/event_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <vector>

#include "model/base/file.h"
#include "tests/new_folder.h"
#include "training/report/event.pb.h"

namespace deweather {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

uint32_t Unmask(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8u;
  return rotated >> 17 | rotated << 15;
}

uint64_t LittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    value |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[i])) << (8 * i);
  }
  return value;
}

// The events of a file, its framing checked byte by byte.
std::vector<report::Event> ReadEvents(const std::string& path) {
  const std::string bytes = ReadFile(path).value();
  std::vector<report::Event> events;
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const uint64_t length = LittleEndian(rest.substr(0, 8));
    EXPECT_EQ(LittleEndian(rest.substr(8, 4)), MaskedCrc32c(rest.substr(0, 8)));
    const std::string_view data = rest.substr(12, length);
    EXPECT_EQ(data.size(), length);
    EXPECT_EQ(LittleEndian(rest.substr(12 + length, 4)), MaskedCrc32c(data));
    EXPECT_TRUE(events.emplace_back().ParseFromArray(data.data(), static_cast<int>(length)));
    rest.remove_prefix(16 + length);
  }
  return events;
}

TEST(EventFileTest, ChecksumIsCrc32c) {
  EXPECT_EQ(Unmask(MaskedCrc32c("123456789")), 0xe3069283u);
  // RFC 3720, B.4.
  EXPECT_EQ(Unmask(MaskedCrc32c(std::string(32, '\0'))), 0x8a9136aau);
  EXPECT_EQ(Unmask(MaskedCrc32c(std::string(32, '\xff'))), 0x62a8ab43u);
  EXPECT_EQ(Unmask(MaskedCrc32c("")), 0u);
  EXPECT_EQ(MaskedCrc32c(""), 0xa282ead8u);
}

TEST(EventFileTest, RecordIsLengthSumDataSum) {
  const std::string record = FrameRecord("abc");
  ASSERT_EQ(record.size(), 8u + 4 + 3 + 4);
  EXPECT_EQ(record.substr(0, 8), std::string("\3\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(Unmask(static_cast<uint32_t>(LittleEndian(record.substr(15)))), 0x364b3fb7u);
  EXPECT_EQ(record.substr(12, 3), "abc");
}

TEST(EventFileTest, BeginsWithVersionAndStart) {
  const EventFile file = EventFile::Open(NewFolder(), 40, kNow).value();
  const std::vector<report::Event> events = ReadEvents(file.path());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_EQ(events[0].wall_time(), 1.7e9);
  // What readers forget begins after the steps that are done.
  EXPECT_EQ(events[1].step(), 41);
  EXPECT_EQ(events[1].session_log().status(), report::SessionLog::SESSION_STATUS_START);
}

TEST(EventFileTest, KeepsFiguresAsFloats) {
  EventFile file = EventFile::Open(NewFolder(), 0, kNow).value();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  ASSERT_TRUE(
      file.Append({50, kNow + absl::Milliseconds(1500), {{"loss/task", 0.1}, {"x", nan}}}).ok());
  ASSERT_TRUE(file.Append({60, kNow, {}}).ok());  // nothing to write
  const std::vector<report::Event> events = ReadEvents(file.path());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[2].step(), 50);
  EXPECT_EQ(events[2].wall_time(), 1.7e9 + 1.5);
  ASSERT_EQ(events[2].summary().value_size(), 2);
  EXPECT_EQ(events[2].summary().value(0).tag(), "loss/task");
  EXPECT_EQ(events[2].summary().value(0).simple_value(), 0.1f);
  EXPECT_TRUE(std::isnan(events[2].summary().value(1).simple_value()));
}

TEST(EventFileTest, LaterLivesSortBehindEarlierOnes) {
  const std::string folder = NewFolder();
  std::vector<std::string> paths;
  // A clock that stands still, then one that was set back.
  for (const absl::Duration late : {absl::Seconds(0), absl::Seconds(0), -absl::Hours(5)}) {
    paths.push_back(EventFile::Open(folder, 0, kNow + late).value().path());
  }
  EXPECT_TRUE(std::is_sorted(paths.begin(), paths.end()));
  EXPECT_LT(paths[0], paths[1]);
  EXPECT_LT(paths[1], paths[2]);
  EXPECT_EQ(std::filesystem::path(paths[0]).filename().string().rfind(
                "events.out.tfevents.1700000000.", 0),
            0u);
}

TEST(EventFileTest, FolderThatIsNotThereIsAnError) {
  EXPECT_EQ(EventFile::Open(NewFolder() + "/absent", 0, kNow).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace deweather
