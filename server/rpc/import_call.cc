#include "server/rpc/import_call.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "server/restore/import_model.h"

namespace deweather {
namespace {

constexpr int64_t kMaxOriginBytes = 1024;

absl::Status Wrong(const char* reason, std::string message) {
  return WithReason(absl::InvalidArgumentError(message), reason);
}

absl::Status CheckStart(const v1::ImportModelRequest::Start& start) {
  if (!start.name().empty()) DW_RETURN_IF_ERROR(ValidateName("start.name", start.name()));
  if (start.bytes() < 1) {
    return Wrong("FILE_SIZE",
                 absl::StrFormat("start.bytes is %d; it must be 1 or more", start.bytes()));
  }
  if (!IsSha256(start.sha256())) {
    return absl::InvalidArgumentError(
        "start.sha256 is not made of 64 hexadecimal digits in lower case");
  }
  const auto origin_bytes = static_cast<int64_t>(start.origin().size());
  if (origin_bytes <= kMaxOriginBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "start.origin has %d bytes; it may have at most %d", origin_bytes, kMaxOriginBytes));
}

std::string SourceOf(const std::string& origin) {
  return origin.empty() ? "import" : absl::StrCat("import of ", origin);
}

v1::ImportModelResponse ToMessage(const ImportedVersion& imported) {
  v1::ImportModelResponse response;
  response.set_name(imported.name);
  response.set_version(imported.version);
  response.set_added(imported.added);
  response.mutable_unused_tensors()->Assign(imported.unused.begin(), imported.unused.end());
  return response;
}

}  // namespace

absl::Status ImportCall::Take(v1::ImportModelRequest message) {
  switch (message.part_case()) {
    case v1::ImportModelRequest::kStart:
      return OnStart(std::move(*message.mutable_start()));
    case v1::ImportModelRequest::kChunk:
      return OnChunk(message.chunk());
    default:
      return Wrong("MESSAGE_OUT_OF_ORDER", "a message holds neither a start nor a chunk");
  }
}

absl::Status ImportCall::OnStart(v1::ImportModelRequest::Start start) {
  if (started_) {
    return Wrong("MESSAGE_OUT_OF_ORDER", "a second start; only chunks follow the first one");
  }
  if (imports_.store.empty()) {
    return WithReason(
        absl::FailedPreconditionError("no model can be imported: the server has no data folder"),
        "NO_DATA_FOLDER");
  }
  DW_RETURN_IF_ERROR(CheckStart(start));
  started_ = true;
  start_ = std::move(start);
  DW_RETURN_IF_ERROR(TakeRoom());
  return ForCallers(OpenFile());
}

absl::Status ImportCall::TakeRoom() {
  room_ = std::min(start_.bytes(), imports_.max_bytes + 1);  // so that no sum overflows
  const int64_t all = imports_.bytes += room_;
  if (all <= imports_.max_bytes) return absl::OkStatus();
  return WithReason(absl::ResourceExhaustedError(absl::StrFormat(
                        "start.bytes is %d, beside %d bytes of other imports under way; "
                        "max_model_bytes is %d",
                        start_.bytes(), all - room_, imports_.max_bytes)),
                    "MODEL_BUDGET");
}

// The file lies there until its version does.
absl::Status ImportCall::CheckDisk() const {
  DW_ASSIGN_OR_RETURN(const int64_t free, FreeBytes(imports_.store));
  if (free - 2 * room_ >= imports_.min_free_bytes) return absl::OkStatus();
  return WithReason(
      absl::ResourceExhaustedError(absl::StrFormat(
          "the disk has %d free bytes; start.bytes is %d, twice that is needed for a while, and "
          "training.min_free_bytes is %d",
          free, start_.bytes(), imports_.min_free_bytes)),
      "DISK_FULL");
}

absl::Status ImportCall::OpenFile() {
  DW_RETURN_IF_ERROR(MakeFolder(imports_.store));
  DW_RETURN_IF_ERROR(CheckDisk());
  std::string path = absl::StrCat(imports_.store, "/.tmp-import-XXXXXX");
  const int descriptor = mkostemp(path.data(), O_CLOEXEC);
  if (descriptor < 0) return DiskError(errno, absl::StrCat("cannot make '", path, "'"));
  unlink(path.c_str());
  file_.reset(fdopen(descriptor, "w+"));
  if (file_ != nullptr) return absl::OkStatus();
  close(descriptor);
  return absl::ResourceExhaustedError("out of memory for a file");
}

absl::Status ImportCall::OnChunk(const std::string& chunk) {
  if (!started_) {
    return Wrong("MESSAGE_OUT_OF_ORDER", "a chunk before the start, which comes first");
  }
  const auto bytes = static_cast<int64_t>(chunk.size());
  if (bytes > start_.bytes() - arrived_) {
    return Wrong("FILE_SIZE", absl::StrFormat("a chunk of %d bytes at offset %d; start.bytes is %d",
                                              bytes, arrived_, start_.bytes()));
  }
  if (std::fwrite(chunk.data(), 1, chunk.size(), file_.get()) != chunk.size()) {
    return DiskError(errno, "cannot write what arrives");
  }
  hash_.Update(chunk);
  arrived_ += bytes;
  return absl::OkStatus();
}

absl::StatusOr<v1::ImportModelResponse> ImportCall::Complete() {
  if (!started_) {
    return Wrong("MESSAGE_OUT_OF_ORDER", "the call was closed without a start");
  }
  if (arrived_ != start_.bytes()) {
    return Wrong("FILE_SIZE",
                 absl::StrFormat("the call was closed after %d bytes of start.bytes %d", arrived_,
                                 start_.bytes()));
  }
  const std::string sha256 = hash_.Hex();
  if (sha256 != start_.sha256()) {
    return WithReason(absl::DataLossError(absl::StrFormat(
                          "the file has SHA-256 %s; start.sha256 is %s", sha256, start_.sha256())),
                      "CHECKSUM");
  }
  DW_ASSIGN_OR_RETURN(std::string file, ReadBack());
  DW_ASSIGN_OR_RETURN(const ImportedVersion imported,
                      ImportModel(imports_.store, std::move(file), start_.name(),
                                  SourceOf(start_.origin()), absl::Now()));
  return ToMessage(imported);
}

absl::StatusOr<std::string> ImportCall::ReadBack() {
  std::string file;
  try {
    file.resize(static_cast<size_t>(arrived_));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("out of memory for a model of %d bytes", arrived_));
  }
  if (std::fflush(file_.get()) != 0) return DiskError(errno, "cannot write what has arrived");
  std::rewind(file_.get());
  if (std::fread(file.data(), 1, file.size(), file_.get()) == file.size()) return file;
  return absl::UnavailableError("what has arrived cannot be read back");
}

void ImportCall::Release() {
  file_.reset();
  imports_.bytes -= std::exchange(room_, 0);
}

}  // namespace deweather
