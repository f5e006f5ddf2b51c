#include "server/rpc/log_call.h"

#include <iterator>
#include <utility>

#include "absl/time/time.h"
#include "model/base/status_macros.h"
#include "training/jobs/job_folder.h"
#include "training/jobs/job_log.h"

namespace deweather {
namespace {

constexpr int64_t kChunkBytes = int64_t{64} << 10;
constexpr absl::Duration kLookInterval = absl::Milliseconds(250);

}  // namespace

// The job before its log: once it has ended, nothing more is printed.
absl::StatusOr<LogCall::Page> LogCall::Find() {
  DW_ASSIGN_OR_RETURN(const Job job, FindJob(training_, request().id()));
  DW_ASSIGN_OR_RETURN(LogPiece piece,
                      ReadLog(JobLogPath(training_.jobs, job.id), offset_, kChunkBytes));
  if (!end_) end_ = piece.end;
  offset_ = piece.offset + std::ssize(piece.text);
  Page page;
  if (!piece.text.empty()) {
    v1::LogChunk& chunk = page.messages.emplace_back();
    chunk.set_offset(piece.offset);
    chunk.set_data(std::move(piece.text));
  }
  page.last = request().follow() ? IsTerminal(job.state) && offset_ >= piece.end : offset_ >= *end_;
  if (job.state != JobState::kQueued) page.look_again = kLookInterval;
  return page;
}

}  // namespace deweather
