#include "server/restore/admission.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

constexpr absl::Duration kLeastDelay = absl::Milliseconds(100);
constexpr absl::Duration kMostDelay = absl::Seconds(60);
constexpr double kForget = 0.95;  // weight of what was learnt before, at each new request
constexpr double kLeastLate = 0.5;
constexpr double kMostLate = 4.0;
constexpr double kMargin = 1.25;  // a request that ends late has cost as much as one in time

absl::Status Refuse(std::string message, const char* reason, absl::Duration delay) {
  return WithRetryDelay(WithReason(absl::ResourceExhaustedError(message), reason),
                        std::clamp(delay, kLeastDelay, kMostDelay));
}

// Whether `wanted` more fit beside what is held. Whoever holds nothing may exceed the limit.
bool Fits(int64_t wanted, int64_t held, int64_t limit) {
  return held == 0 || wanted <= limit - held;
}

double Excess(int64_t wanted, int64_t held, int64_t limit) {
  return std::min(1.0, static_cast<double>(held + wanted - limit) / static_cast<double>(held));
}

std::string OverBudget(const char* what, int64_t wanted, int64_t held, int64_t limit) {
  return absl::StrFormat("the picture needs %d %s; requests in flight hold %d of %d", wanted, what,
                         held, limit);
}

std::string OverQuota(const char* what, int64_t wanted, int64_t held, int64_t limit, int percent) {
  return absl::StrFormat(
      "the picture needs %d %s; the caller's requests in flight hold %d of %d (%d %% of the "
      "server's)",
      wanted, what, held, limit, percent);
}

std::string Rounded(absl::Duration duration) {
  return absl::FormatDuration(absl::Trunc(duration, absl::Milliseconds(1)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Admission::Share>> Admission::Admit(
    const Demand& demand, absl::Time now, std::unique_ptr<Share> reserved) {
  if (demand.deadline <= now) {
    return absl::DeadlineExceededError(absl::StrFormat(
        "the deadline passed %s before the request was looked at", Rounded(now - demand.deadline)));
  }
  MutexLock lock(mutex_);
  if (reserved != nullptr) {
    Erase(*reserved);
    reserved->holds_ = false;
  }
  DW_RETURN_IF_ERROR(CheckRoom(demand));
  DW_RETURN_IF_ERROR(CheckQuota(demand));
  const absl::Duration predicted = Predict(demand);
  DW_RETURN_IF_ERROR(CheckDeadline(demand, predicted, now));
  const absl::Duration codec = demand.overtaken ? absl::ZeroDuration() : Codec(demand);
  const auto caller = callers_.try_emplace(demand.caller).first;
  std::list<Entry>& entries = caller->second.entries;
  entries.push_back({demand, now, predicted, Work(demand), codec, demand.tiles});
  Hold(caller->second, entries.back(), +1);
  return std::unique_ptr<Share>(new Share(*this, caller, std::prev(entries.end())));
}

Admission::Held Admission::held() const {
  MutexLock lock(mutex_);
  return held_;
}

absl::Status Admission::CheckRoom(const Demand& demand) const {
  if (!Fits(demand.bytes, held_.bytes, options_.max_bytes)) {
    return Refuse(OverBudget("bytes", demand.bytes, held_.bytes, options_.max_bytes), "BYTE_BUDGET",
                  DrainTime(Excess(demand.bytes, held_.bytes, options_.max_bytes)));
  }
  if (!Fits(demand.window_tiles, held_.tiles, options_.max_tiles)) {
    return Refuse(OverBudget("tiles", demand.window_tiles, held_.tiles, options_.max_tiles),
                  "TILE_BUDGET",
                  DrainTime(Excess(demand.window_tiles, held_.tiles, options_.max_tiles)));
  }
  return absl::OkStatus();
}

absl::Status Admission::CheckQuota(const Demand& demand) const {
  const auto found = callers_.find(demand.caller);
  if (found == callers_.end()) return absl::OkStatus();
  const Caller& caller = found->second;
  const int percent = options_.max_caller_percent;
  const auto [max_bytes, max_tiles] = Quota();
  if (!Fits(demand.bytes, caller.bytes, max_bytes)) {
    return Refuse(OverQuota("bytes", demand.bytes, caller.bytes, max_bytes, percent),
                  "CALLER_QUOTA", DrainTime(Excess(demand.bytes, caller.bytes, max_bytes)));
  }
  if (!Fits(demand.window_tiles, caller.tiles, max_tiles)) {
    return Refuse(OverQuota("tiles", demand.window_tiles, caller.tiles, max_tiles, percent),
                  "CALLER_QUOTA", DrainTime(Excess(demand.window_tiles, caller.tiles, max_tiles)));
  }
  return absl::OkStatus();
}

Admission::Needs Admission::Quota() const {
  const int percent = options_.max_caller_percent;
  return {.bytes = options_.max_bytes / 100 * percent,
          .window_tiles = std::max<int64_t>(1, options_.max_tiles * percent / 100)};
}

absl::Status Admission::CheckTogether(const Needs& needs) const {
  const Needs quota = Quota();
  const auto check = [](const char* what, int64_t needed, int64_t most) {
    if (needed <= most) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrFormat(
        "the pictures need %d %s together; a caller may hold %d", needed, what, most));
  };
  DW_RETURN_IF_ERROR(check("bytes", needs.bytes, quota.bytes));
  return check("tiles", needs.window_tiles, quota.window_tiles);
}

absl::Status Admission::CheckDeadline(const Demand& demand, absl::Duration predicted,
                                      absl::Time now) const {
  const absl::Duration expected = predicted * Lateness();
  const bool hopeful = !demand.cost.known() || now + expected * kMargin <= demand.deadline;
  if (hopeful || teachers_ == 0) return absl::OkStatus();
  return Refuse(absl::StrFormat("the deadline is in %s; behind what is in flight the picture's %d "
                                "tiles take about %s",
                                Rounded(demand.deadline - now), demand.tiles, Rounded(expected)),
                "DEADLINE_TOO_SHORT", expected - (demand.deadline - now));
}

// Small pictures say little of large ones: what has not been seen is taken for the largest that has.
absl::Duration Admission::Codec(const Demand& demand) const {
  const CostFit fit = codec_cost_.Fit();
  return fit.Of(std::min(demand.picture_pixels, fit.most_pixels));
}

// In batches of its own.
absl::Duration Admission::Alone(const Demand& demand) const {
  const auto batches = (demand.tiles + max_batch_ - 1) / max_batch_;
  return demand.cost.Of(demand.tiles * demand.tile_pixels) +
         demand.cost.fixed * static_cast<double>(std::max<int64_t>(batches - 1, 0));
}

// In full batches, shared with others.
absl::Duration Admission::Work(const Demand& demand) const {
  const absl::Duration full = demand.cost.Of(max_batch_ * demand.tile_pixels);
  return full * (static_cast<double>(demand.tiles) / max_batch_);
}

absl::Duration Admission::Predict(const Demand& demand) const {
  if (!demand.cost.known()) return absl::ZeroDuration();
  const auto level = static_cast<size_t>(demand.priority);
  const absl::Duration work = Work(demand);
  absl::Duration own = work;  // until it ends, if its caller were alone
  absl::Duration ahead;       // of higher priority
  const auto mine = callers_.find(demand.caller);
  if (mine != callers_.end()) {
    for (const Entry& entry : mine->second.entries) {
      if (entry.demand.priority == demand.priority) own += std::min(entry.work_left, work);
    }
  }
  absl::Duration others;
  for (auto caller = callers_.begin(); caller != callers_.end(); ++caller) {
    if (caller != mine) others += std::min(caller->second.work_left[level], own);
    for (size_t higher = 0; higher < level; ++higher) ahead += caller->second.work_left[higher];
  }
  const absl::Duration codec = Codec(demand);
  return Alone(demand) - work + own + others + ahead + codec +
         (demand.overtaken ? absl::ZeroDuration() : codec_) / workers_;
}

// Until so large a share of what is in flight is done.
absl::Duration Admission::DrainTime(double share) const {
  absl::Duration work;
  for (const auto& [name, caller] : callers_) {
    for (const absl::Duration left : caller.work_left) work += left;
  }
  return work * share;
}

void Admission::Hold(Caller& caller, const Entry& entry, int sign) {
  held_.requests += sign;
  held_.bytes += sign * entry.demand.bytes;
  held_.tiles += sign * entry.demand.window_tiles;
  caller.bytes += sign * entry.demand.bytes;
  caller.tiles += sign * entry.demand.window_tiles;
  caller.work_left[static_cast<size_t>(entry.demand.priority)] += sign * entry.work_left;
  codec_ += sign * entry.codec;
  teachers_ += entry.demand.cost.known() ? sign : 0;
}

void Admission::Release(const Share& share) {
  const absl::Time now = absl::Now();
  MutexLock lock(mutex_);
  Learn(*share.entry_, now);
  Erase(share);
}

void Admission::Erase(const Share& share) {
  Hold(share.caller_->second, *share.entry_, -1);
  share.caller_->second.entries.erase(share.entry_);
  if (share.caller_->second.entries.empty()) callers_.erase(share.caller_);
}

void Admission::TileDone(const Share& share) {
  MutexLock lock(mutex_);
  Entry& entry = *share.entry_;
  if (entry.tiles_left == 0) return;
  const absl::Duration tile =
      entry.work_left / entry.tiles_left--;  // the last takes all that is left
  entry.work_left -= tile;
  share.caller_->second.work_left[static_cast<size_t>(entry.demand.priority)] -= tile;
}

// One that ran out of time took at least so long; one that was cancelled early says nothing.
void Admission::Learn(const Entry& entry, absl::Time now) {
  const absl::Duration taken = now - entry.start;
  const bool ended = entry.tiles_left == 0;
  if (!entry.demand.cost.known() || (!ended && taken < entry.predicted)) return;
  predicted_ = predicted_ * kForget + entry.predicted;
  taken_ = taken_ * kForget + taken;
}

double Admission::Lateness() const {
  if (predicted_ <= absl::ZeroDuration()) return 1.0;
  return std::clamp(absl::FDivDuration(taken_, predicted_), kLeastLate, kMostLate);
}

}  // namespace deweather
