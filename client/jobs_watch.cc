#include "client/jobs_watch.h"

#include <unistd.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/diagnose.h"
#include "client/follow_job.h"
#include "client/job_text.h"
#include "client/output.h"
#include "client/stop_signal.h"
#include "model/base/progress_bar.h"

namespace deweather {
namespace {

BarState BarOf(const v1::JobProgress& progress) {
  BarState bar;
  bar.step = progress.step();
  bar.steps = progress.steps();
  bar.loss = progress.loss();
  bar.images_per_second = progress.images_per_second();
  if (progress.has_remaining()) bar.left = ToDuration(progress.remaining());
  return bar;
}

// Events as they come, on stdout.
//
// Threads  thread-compatible
class EventPrinter {
 public:
  explicit EventPrinter(bool json)
      : json_(json), terminal_(!json && isatty(STDOUT_FILENO) == 1), bar_(stdout) {}

  void Print(const v1::JobEvent& event) {
    if (json_) return PrintJsonLine(EventJson(event));
    if (terminal_ && event.has_progress()) {
      last_ = BarOf(event.progress());
      return bar_.Draw(*last_);
    }
    bar_.Clear();
    absl::PrintF("%s\n", EventLine(event));
    std::fflush(stdout);
    if (event.has_state_change()) last_.reset();
    if (last_) bar_.Draw(*last_);
  }

 private:
  const bool json_;
  const bool terminal_;
  ProgressBar bar_;
  std::optional<BarState> last_;
};

Following FollowingOf(const WatchFlags& flags) {
  return {PatientWith(flags.server), StopOnSignal()};
}

// `status`, or for the wish to end what goes on without us.
int FailWatch(const WatchFlags& flags, const Following& following, const grpc::Status& status,
              const std::string& how_to_go_on) {
  if (!following.stop) return FailCall(flags.server, status, flags.json);
  return FailCall(absl::CancelledError(
                      absl::StrCat("the job goes on; to see more: deweather jobs ", how_to_go_on)),
                  flags.json);
}

}  // namespace

int RunJobsWatch(const WatchFlags& flags) {
  const Following following = FollowingOf(flags);
  const auto stub =
      v1::TrainingService::NewStub(OpenChannel(flags.server, {.repeats_reads = false}));
  v1::WatchJobRequest request;
  request.set_id(flags.id);
  request.set_after_event(flags.after);
  v1::Job job;
  grpc::Status status;
  {
    EventPrinter printer(flags.json);
    const auto print = [&](const v1::JobEvent& event) {
      printer.Print(event);
      return grpc::Status::OK;
    };
    status = WatchJob(*stub, following, &request, print, &job);
  }
  if (status.ok()) return job.state() == v1::Job::STATE_SUCCEEDED ? 0 : 1;
  return FailWatch(flags, following, status,
                   absl::StrFormat("watch %s --after %d", flags.id, request.after_event()));
}

int RunJobsLogs(const WatchFlags& flags) {
  const Following following = FollowingOf(flags);
  const auto stub =
      v1::TrainingService::NewStub(OpenChannel(flags.server, {.repeats_reads = false}));
  v1::StreamLogsRequest request;
  request.set_id(flags.id);
  request.set_offset(flags.offset);
  request.set_follow(flags.follow);
  const auto print = [&](const v1::LogChunk& chunk) {
    if (chunk.offset() > request.offset()) {
      absl::FPrintF(stderr, "%d bytes of the log are gone\n", chunk.offset() - request.offset());
    }
    const absl::Status written = WriteStdout(chunk.data());
    if (written.ok()) return grpc::Status::OK;
    return grpc::Status(grpc::StatusCode::ABORTED, std::string(written.message()));
  };
  const grpc::Status status = FollowLog(*stub, following, &request, print);
  if (status.ok()) return 0;
  return FailWatch(flags, following, status,
                   absl::StrFormat("logs %s --follow --offset %d", flags.id, request.offset()));
}

}  // namespace deweather
