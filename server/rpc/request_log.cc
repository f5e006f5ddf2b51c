#include "server/rpc/request_log.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "model/base/error_reason.h"
#include "server/log/log.h"
#include "server/rpc/call_parts.h"
#include "server/rpc/trace_context.h"

namespace deweather {
namespace {

constexpr size_t kMaxMessageBytes = 1024;  // of what a caller's mistake makes us say

// What an administrator looks for afterwards.
constexpr std::array<std::string_view, 9> kChanges = {
    "SubmitJob",    "CancelJob",     "ResumeJob",     "DeleteJob",  "UploadDataset",
    "PromoteModel", "RollbackModel", "DeleteVersion", "ImportModel"};

bool ChangesSomething(std::string_view method) {
  return std::ranges::find(kChanges, method) != kChanges.end();
}

bool MayNotCall(const absl::Status& status) {
  return absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status);
}

double Seconds(absl::Duration time) { return std::round(absl::ToDoubleMicroseconds(time)) / 1e6; }

void AddText(const char* name, const std::string& value, LogFields* fields) {
  if (!value.empty()) fields->push_back({name, value});
}

void AddCount(const char* name, int64_t value, LogFields* fields) {
  if (value > 0) fields->push_back({name, value});
}

void AddTrace(const std::string& trace_parent, LogFields* fields) {
  const std::optional<TraceParent> trace = ParseTraceParent(trace_parent);
  if (!trace.has_value()) return;
  fields->push_back({"trace_id", trace->trace_id});
  fields->push_back({"parent_id", trace->parent_id});
}

void AddStages(const CallFigures& figures, LogFields* fields) {
  if (figures.pictures == 0) return;
  const StageTimings& stages = figures.stages;
  fields->push_back({"decode_seconds", Seconds(stages.decode)});
  fields->push_back({"queue_seconds", Seconds(stages.queue)});
  fields->push_back({"infer_seconds", Seconds(stages.infer)});
  fields->push_back({"blend_seconds", Seconds(stages.blend)});
  fields->push_back({"encode_seconds", Seconds(stages.encode)});
  fields->push_back({"pictures", figures.pictures});
  fields->push_back({"tiles", int64_t{stages.tiles}});
  fields->push_back({"batches", int64_t{stages.batches}});
}

std::string MessageOf(const Arrival& arrival, const absl::Status& status) {
  const std::string code = absl::StatusCodeToString(status.code());
  if (status.ok()) return absl::StrCat(arrival.method, ": ", code);
  return absl::StrCat(arrival.method, ": ", code, ": ",
                      status.message().substr(0, kMaxMessageBytes));
}

}  // namespace

std::optional<int64_t> LineQuota::Take(bool due, absl::Time now) {
  if (now > refilled_) {  // a clock that was set back refills nothing
    const double come = absl::ToDoubleSeconds(now - refilled_) * per_second_;
    left_ = std::min(per_second_, left_ + come);
  }
  refilled_ = now;
  if (left_ < 1 && !due) {
    ++suppressed_;
    return std::nullopt;
  }
  left_ = std::max(0.0, left_ - 1);
  const int64_t before = suppressed_;
  suppressed_ = 0;
  return before;
}

RequestLog::RequestLog(int max_per_second) : quota_(max_per_second), refused_(max_per_second) {}

RequestLog::~RequestLog() {
  MutexLock lock(mutex_);
  const int64_t suppressed = quota_.suppressed() + refused_.suppressed();
  if (suppressed == 0) return;
  LogWith(spdlog::level::info, "calls without a line", {{"suppressed", suppressed}});
}

void RequestLog::Write(const std::string& service, const Arrival& arrival,
                       const absl::Status& status, const CallFigures& figures, absl::Time now) {
  const bool ours = IsServersFault(status);
  const spdlog::level::level_enum level = ours ? spdlog::level::err : spdlog::level::info;
  if (!spdlog::should_log(level)) return;
  const bool may_not = MayNotCall(status);
  std::optional<int64_t> suppressed;
  {
    MutexLock lock(mutex_);
    suppressed = may_not ? refused_.Take(/*due=*/false, now)
                         : quota_.Take(ours || ChangesSomething(arrival.method), now);
  }
  if (!suppressed.has_value()) return;
  LogFields fields = FieldsOf(service, arrival, status, figures, now);
  AddCount("suppressed", *suppressed, &fields);
  LogWith(level, MessageOf(arrival, status), fields);
}

LogFields FieldsOf(const std::string& service, const Arrival& arrival, const absl::Status& status,
                   const CallFigures& figures, absl::Time now) {
  LogFields fields = {{"request_id", arrival.request_id}};
  AddTrace(arrival.trace_parent, &fields);
  fields.push_back({"method", absl::StrCat(service, "/", arrival.method)});
  fields.push_back({"code", absl::StatusCodeToString(status.code())});
  if (!status.ok()) fields.push_back({"reason", ErrorReason(status)});
  fields.push_back({"caller", arrival.caller});
  if (arrival.peer != arrival.caller) fields.push_back({"peer", arrival.peer});
  fields.push_back({"seconds", Seconds(now - arrival.start)});
  AddStages(figures, &fields);
  AddText("model", figures.model, &fields);
  AddText("model_version", figures.version, &fields);
  AddCount("frames", figures.frames, &fields);
  AddCount("failed_frames", figures.failed_frames, &fields);
  AddCount("bytes_in", figures.bytes_in, &fields);
  AddCount("bytes_out", figures.bytes_out, &fields);
  return fields;
}

}  // namespace deweather
