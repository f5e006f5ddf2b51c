// TensorBoard's view of a training run: an event file for each life of the run, in one folder.
//
// Format   a sequence of records, each a serialized Event (event.proto):
//            uint64 length | uint32 mask(crc32c(length)) | data | uint32 mask(crc32c(data))
//          little-endian, mask(x) = (x >> 15 | x << 17) + 0xa282ead8. The first says
//          "brain.Event:2", the second at which step this life begins: readers then forget what
//          earlier lives wrote of that step and later ones, so a run that was killed and resumed
//          shows no step twice. Readers skip the torn last record of a file.
// Owns     a file
// Threads  thread-compatible
// Errors   what errno says; the record is then lost, the file stays readable

#ifndef DEWEATHER_TRAINING_REPORT_EVENT_FILE_H_
#define DEWEATHER_TRAINING_REPORT_EVENT_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "training/report/append_file.h"
#include "training/report/record.h"

namespace deweather {

uint32_t MaskedCrc32c(std::string_view bytes);

// `data` as a record of an event file.
std::string FrameRecord(std::string_view data);

class EventFile {
 public:
  // Begins a file in `folder`, for a life of the run that begins with `steps` done:
  // events.out.tfevents.<seconds>.<host>.<pid>, named so that it sorts behind those that are there.
  static absl::StatusOr<EventFile> Open(const std::string& folder, int64_t steps, absl::Time now);

  absl::Status Append(const ScalarRecord& record);

  absl::Status Sync() { return file_.Sync(); }

  const std::string& path() const { return file_.path(); }

 private:
  explicit EventFile(AppendFile file) : file_(std::move(file)) {}

  AppendFile file_;
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_REPORT_EVENT_FILE_H_
