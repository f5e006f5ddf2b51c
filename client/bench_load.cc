#include "client/bench_load.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/channel.h"
#include "client/output.h"

namespace deweather {
namespace {

constexpr absl::Duration kTurn = absl::Milliseconds(100);

// A part's weight is shared by its pictures.
std::vector<double> WeightsOf(const std::vector<MixPart>& mix,
                              const std::vector<BenchPicture>& pictures) {
  std::vector<double> count(mix.size(), 0);
  for (const BenchPicture& picture : pictures) ++count[picture.part];
  std::vector<double> weights;
  for (const BenchPicture& picture : pictures) {
    weights.push_back(mix[picture.part].weight / count[picture.part]);
  }
  return weights;
}

std::vector<v1::RestoreRequest> RequestsOf(const std::vector<BenchPicture>& pictures,
                                           const BenchFlags& flags) {
  const v1::RestoreOptions::Priority priority = flags.priority == "background"
                                                    ? v1::RestoreOptions::PRIORITY_BACKGROUND
                                                    : v1::RestoreOptions::PRIORITY_NORMAL;
  std::vector<v1::RestoreRequest> requests(pictures.size());
  for (size_t i = 0; i < pictures.size(); ++i) {
    requests[i].set_image(pictures[i].bytes);
    requests[i].mutable_options()->set_model(flags.model);
    requests[i].mutable_options()->set_task(flags.task);
    requests[i].mutable_options()->set_priority(priority);
  }
  return requests;
}

void FillReply(const v1::RestoreResponse& response, CallOutcome* outcome) {
  const v1::Timings& timings = response.timings();
  outcome->stages = {ToDuration(timings.decode()), ToDuration(timings.queue()),
                     ToDuration(timings.infer()),  ToDuration(timings.blend()),
                     ToDuration(timings.encode()), ToDuration(timings.total())};
  outcome->tiles = timings.tiles();
  outcome->batches = timings.batches();
  outcome->pixels = int64_t{response.width_px()} * response.height_px();
  outcome->model = absl::StrCat(response.model().name(), " ", response.model().version());
}

// Never 0.
uint64_t DigestOf(const std::string& bytes) { return std::hash<std::string_view>()(bytes) | 1; }

}  // namespace

BenchLoad::BenchLoad(const BenchFlags& flags, const std::vector<MixPart>& mix,
                     const std::vector<BenchPicture>& pictures, Stubs stubs)
    : flags_(flags),
      pictures_(pictures),
      stubs_(std::move(stubs)),
      requests_(RequestsOf(pictures, flags)),
      start_(absl::Now()),
      window_start_(start_ + flags.warmup),
      end_(window_start_ + flags.duration),
      next_tell_(start_ + absl::Seconds(1)),
      random_(static_cast<uint64_t>(flags.seed)),
      tally_(mix.size(), window_start_, end_) {
  const std::vector<double> weights = WeightsOf(mix, pictures);
  pick_ = std::discrete_distribution<size_t>(weights.begin(), weights.end());
}

BenchResult BenchLoad::Run(const std::atomic<bool>& stop, bool tell) {
  flags_.rate > 0 ? RunOpen(stop, tell) : RunClosed(stop, tell);
  const absl::Time now = absl::Now();
  AwaitCalls(stop);
  if (tell) std::fputs("\r\033[K", stderr);
  const MutexLock lock(mutex_);
  return {tally_, std::clamp(now - window_start_, absl::ZeroDuration(), flags_.duration), stop};
}

void BenchLoad::RunClosed(const std::atomic<bool>& stop, bool tell) {
  for (int i = 0; i < flags_.concurrency; ++i) Send(static_cast<size_t>(i), absl::Now());
  SleepUntil(end_, stop, tell);
}

void BenchLoad::RunOpen(const std::atomic<bool>& stop, bool tell) {
  Arrivals arrivals(flags_.rate, flags_.seed, start_);
  size_t caller = 0;
  for (absl::Time due = arrivals.Next(); due < end_; due = arrivals.Next()) {
    if (!SleepUntil(due, stop, tell)) return;
    Send(caller++, due);
  }
  SleepUntil(end_, stop, tell);
}

void BenchLoad::AwaitCalls(const std::atomic<bool>& stop) {
  const MutexLock lock(mutex_);
  over_ = true;
  for (grpc::Alarm* const alarm : pauses_) alarm->Cancel();
  while (!in_flight_.empty() || !pauses_.empty()) {
    if (stop && !abandoning_) {
      abandoning_ = true;
      for (Call* const call : in_flight_) call->context.TryCancel();
    }
    ended_.WaitFor(mutex_, kTurn);
  }
}

bool BenchLoad::SleepUntil(absl::Time then, const std::atomic<bool>& stop, bool tell) {
  absl::Time now = absl::Now();
  while (now < then && !stop) {
    absl::SleepFor(std::min(then - now, kTurn));
    now = absl::Now();
    if (tell && now >= next_tell_) Tell(now);
  }
  return !stop;
}

void BenchLoad::Send(size_t caller, absl::Time due) {
  auto owned = std::make_unique<Call>();
  Call* const call = owned.get();
  call->caller = caller;
  call->due = due;
  call->context.set_deadline(absl::ToChronoTime(due + flags_.server.timeout));
  {
    const MutexLock lock(mutex_);
    if (over_) return;
    const bool full = in_flight_.size() >= static_cast<size_t>(flags_.max_outstanding);
    if (flags_.rate > 0 && full) {
      return tally_.AddNotSent(due);
    }
    call->picture = pick_(random_);
    in_flight_.insert(call);
  }
  call->sent = absl::Now();
  owned.release();
  stubs_[caller % stubs_.size()]->async()->Restore(
      &call->context, &requests_[call->picture], &call->response,
      [this, call](const grpc::Status& status) { End(std::unique_ptr<Call>(call), status); });
}

void BenchLoad::End(std::unique_ptr<Call> call, const grpc::Status& status) {
  const size_t caller = call->caller;
  CallOutcome outcome = OutcomeOf(*call, status, absl::Now());
  if (flags_.rate == 0) SendNext(caller, outcome.ended, outcome.ended + RetryDelayOf(status));
  const MutexLock lock(mutex_);
  outcome.abandoned = abandoning_;
  tally_.Add(outcome);
  in_flight_.erase(call.get());
  call.reset();
  ended_.NotifyAll();
}

void BenchLoad::SendNext(size_t caller, absl::Time ended, absl::Time then) {
  if (then >= end_) return;
  then > ended ? Pause(caller, then) : Send(caller, ended);
}

void BenchLoad::Pause(size_t caller, absl::Time then) {
  const MutexLock lock(mutex_);
  if (over_) return;
  auto* const alarm = new grpc::Alarm;
  pauses_.insert(alarm);
  // Calls back on a thread of gRPC's, never here.
  alarm->Set(absl::ToChronoTime(then), [this, alarm, caller](bool) {
    EndPause(std::unique_ptr<grpc::Alarm>(alarm), caller);
  });
}

void BenchLoad::EndPause(std::unique_ptr<grpc::Alarm> alarm, size_t caller) {
  Send(caller, absl::Now());
  const MutexLock lock(mutex_);
  pauses_.erase(alarm.get());
  alarm.reset();
  ended_.NotifyAll();
}

CallOutcome BenchLoad::OutcomeOf(const Call& call, const grpc::Status& status,
                                 absl::Time ended) const {
  CallOutcome outcome;
  outcome.part = pictures_[call.picture].part;
  outcome.picture = call.picture;
  outcome.due = call.due;
  outcome.sent = call.sent;
  outcome.ended = ended;
  outcome.code = FromGrpc(status).code();
  outcome.reason = ReasonOf(status);
  if (status.ok()) FillReply(call.response, &outcome);
  if (status.ok() && flags_.verify) outcome.digest = DigestOf(call.response.image());
  return outcome;
}

void BenchLoad::Tell(absl::Time now) {
  next_tell_ += absl::Seconds(1);
  const MutexLock lock(mutex_);
  absl::FPrintF(stderr, "\r\033[K%.0f of %.0f s: %d ok, %d errors, %d in flight",
                absl::ToDoubleSeconds(now - window_start_), absl::ToDoubleSeconds(flags_.duration),
                tally_.ok, tally_.error_count, in_flight_.size());
}

}  // namespace deweather
