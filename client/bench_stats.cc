#include "client/bench_stats.h"

#include <algorithm>
#include <cmath>

namespace deweather {
namespace {

const double kGrowth = std::log(1.005);
constexpr size_t kBuckets = 5080;  // 1.005^5080 us are 28 hours

size_t BucketOf(absl::Duration duration) {
  const double us = absl::ToDoubleMicroseconds(duration);
  if (us <= 1) return 0;
  return std::min(static_cast<size_t>(std::ceil(std::log(us) / kGrowth)), kBuckets - 1);
}

absl::Duration UpperEdge(size_t bucket) {
  return absl::Microseconds(std::exp(static_cast<double>(bucket) * kGrowth));
}

}  // namespace

void DurationHistogram::Add(absl::Duration duration) {
  duration = std::max(duration, absl::ZeroDuration());
  buckets_.resize(kBuckets);
  ++buckets_[BucketOf(duration)];
  ++count_;
  sum_ += duration;
  max_ = std::max(max_, duration);
}

absl::Duration DurationHistogram::Mean() const { return count_ == 0 ? sum_ : sum_ / count_; }

absl::Duration DurationHistogram::Quantile(double q) const {
  const auto wanted = static_cast<int64_t>(std::ceil(q * static_cast<double>(count_)));
  int64_t seen = 0;
  for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    seen += buckets_[bucket];
    if (seen >= wanted) return std::min(UpperEdge(bucket), max_);
  }
  return max_;
}

BenchTally::BenchTally(size_t parts, absl::Time window_start, absl::Time window_end)
    : window_start_(window_start), window_end_(window_end), parts_(parts) {}

void BenchTally::Add(const CallOutcome& call) {
  const bool wrong_reply = IsWrong(call);
  const bool good = call.code == absl::StatusCode::kOk && !wrong_reply && !call.abandoned;
  if (good) AddThroughput(call);
  if (call.due < window_start_) {
    wrong_in_warmup += wrong_reply ? 1 : 0;
    return;
  }
  ++sent;
  ++parts_[call.part].sent;
  send_delay.Add(call.sent - call.due);
  if (call.abandoned) {
    ++abandoned;
  } else if (call.code != absl::StatusCode::kOk) {
    AddError(call);
  } else if (wrong_reply) {
    ++wrong;
  } else {
    AddReply(call);
  }
}

void BenchTally::AddNotSent(absl::Time due) { not_sent += due < window_start_ ? 0 : 1; }

bool BenchTally::IsWrong(const CallOutcome& call) {
  if (call.digest == 0 || call.code != absl::StatusCode::kOk) return false;
  const auto [first, is_new] = digests_.emplace(std::pair(call.picture, call.model), call.digest);
  return !is_new && first->second != call.digest;
}

void BenchTally::AddThroughput(const CallOutcome& call) {
  if (call.ended < window_start_ || call.ended >= window_end_) return;
  ++ok_in_window;
  pixels_in_window += call.pixels;
}

void BenchTally::AddReply(const CallOutcome& call) {
  ++ok;
  ++parts_[call.part].ok;
  ++models_[call.model];
  tiles += call.tiles;
  batches += call.batches;
  latency.Add(call.ended - call.due);
  parts_[call.part].latency.Add(call.ended - call.due);
  for (size_t i = 0; i < stages_.size(); ++i) stages_[i].Add(call.stages[i]);
  transport.Add(call.ended - call.sent - call.stages.back());
}

void BenchTally::AddError(const CallOutcome& call) {
  ++error_count;
  ErrorTally& tally = errors_[call.code];
  tally.latency.Add(call.ended - call.due);
  if (!call.reason.empty()) ++tally.reasons[call.reason];
}

}  // namespace deweather
