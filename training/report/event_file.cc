#include "training/report/event_file.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/crc.hpp>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "training/report/event.pb.h"

namespace deweather {
namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";

using Crc32c = boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true>;

void PutLittleEndian(uint64_t value, int bytes, std::string& out) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

report::Event NewEvent(int64_t step, absl::Time time) {
  report::Event event;
  event.set_wall_time(absl::ToDoubleSeconds(time - absl::UnixEpoch()));
  event.set_step(step);
  return event;
}

std::string HostName() {
  std::array<char, 256> name = {};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

// The seconds in the name of the last event file of `folder`; 0 if there is none.
int64_t LatestSeconds(const std::string& folder) {
  int64_t latest = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    std::string name = it->path().filename().string();
    int64_t seconds = 0;
    if (name.rfind(kPrefix, 0) != 0) continue;
    name = name.substr(kPrefix.size(), name.find('.', kPrefix.size()) - kPrefix.size());
    if (absl::SimpleAtoi(name, &seconds)) latest = std::max(latest, seconds);
  }
  return latest;
}

absl::Status Put(const report::Event& event, AppendFile& file) {
  return file.Append(FrameRecord(event.SerializeAsString()));
}

}  // namespace

uint32_t MaskedCrc32c(std::string_view bytes) {
  Crc32c crc;
  crc.process_bytes(bytes.data(), bytes.size());
  const uint32_t sum = crc.checksum();
  return (sum >> 15 | sum << 17) + 0xa282ead8u;
}

std::string FrameRecord(std::string_view data) {
  std::string record;
  record.reserve(data.size() + 16);
  PutLittleEndian(data.size(), 8, record);
  PutLittleEndian(MaskedCrc32c(record), 4, record);
  record.append(data);
  PutLittleEndian(MaskedCrc32c(data), 4, record);
  return record;
}

absl::StatusOr<EventFile> EventFile::Open(const std::string& folder, int64_t steps,
                                          absl::Time now) {
  const int64_t seconds = std::max(absl::ToUnixSeconds(now), LatestSeconds(folder) + 1);
  DW_ASSIGN_OR_RETURN(AppendFile file,
                      AppendFile::Open(absl::StrFormat("%s/%s%010d.%s.%d", folder, kPrefix, seconds,
                                                       HostName(), getpid())));
  report::Event version = NewEvent(0, now);
  version.set_file_version("brain.Event:2");
  DW_RETURN_IF_ERROR(Put(version, file));
  report::Event start = NewEvent(steps + 1, now);
  start.mutable_session_log()->set_status(report::SessionLog::SESSION_STATUS_START);
  DW_RETURN_IF_ERROR(Put(start, file));
  return EventFile(std::move(file));
}

absl::Status EventFile::Append(const ScalarRecord& record) {
  if (record.values.empty()) return absl::OkStatus();
  report::Event event = NewEvent(record.step, record.time);
  for (const auto& [name, figure] : record.values) {
    report::Summary::Value* const value = event.mutable_summary()->add_value();
    value->set_tag(name);
    value->set_simple_value(static_cast<float>(figure));
  }
  return Put(event, file_);
}

}  // namespace deweather
