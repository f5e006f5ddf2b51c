// LiveModels: promotions, trials, rollbacks, deletes, and what other servers decide.

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "model/base/name.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"
#include "server/restore/live_models.h"
#include "server/restore/warm_up.h"

namespace deweather {
namespace {

constexpr absl::Duration kRetryFollowing = absl::Minutes(1);

absl::Status CheckPlace(const std::string& name, const std::string& version) {
  DW_RETURN_IF_ERROR(ValidateName("name", name));
  if (IsVersion(version)) return absl::OkStatus();
  return absl::InvalidArgumentError("version is not made of 12 hexadecimal digits in lower case");
}

absl::Status CheckTerms(const std::string& name, const std::string& version,
                        const PromotionTerms& terms) {
  DW_RETURN_IF_ERROR(CheckPlace(name, version));
  if (terms.canary_percent == 0 || IsCanaryPercent(terms.canary_percent)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "canary_percent is %g; it must be 0, or above 0 and below 100", terms.canary_percent));
}

bool SameChoice(const LiveRecord& a, const LiveRecord& b) {
  return a.version == b.version && a.canary == b.canary && a.canary_percent == b.canary_percent;
}

// A torn one says nothing, and is replaced.
LiveRecord RecordOf(const std::string& store, const std::string& name) {
  const auto record = ReadLive(store, name);
  return record.ok() ? record->value_or(LiveRecord{}) : LiveRecord{};
}

absl::Status LiveChanged(const std::string& name, const std::string& version) {
  return WithReason(
      absl::AbortedError(absl::StrFormat(
          "what is live of model '%s' changed while version %s was measured against it", name,
          version)),
      "LIVE_CHANGED");
}

std::string Share(const std::string& name, const LiveRecord& record) {
  return absl::StrFormat("model %s version %s takes %g %% of the requests", name, record.canary,
                         record.canary_percent);
}

}  // namespace

absl::Status LiveModels::BeginPromotion() {
  if (options_.store.empty()) {
    return WithReason(
        absl::FailedPreconditionError("there are no versions: the server has no data folder"),
        "NO_DATA_FOLDER");
  }
  MutexLock lock(mutex_);
  if (std::exchange(promoting_, true)) {
    return WithReason(absl::AbortedError("another promotion is under way"), "PROMOTION_RUNNING");
  }
  return absl::OkStatus();
}

void LiveModels::AwaitPromotion() {
  MutexLock lock(mutex_);
  while (promoting_) promotion_ended_.Wait(mutex_);
  promoting_ = true;
}

void LiveModels::EndPromotion() {
  MutexLock lock(mutex_);
  promoting_ = false;
  promotion_ended_.NotifyAll();
}

absl::Status LiveModels::BeginJudging(const std::string& name, const std::string& version) {
  MutexLock lock(mutex_);
  if (judged_.has_value()) {
    return WithReason(absl::AbortedError("another version is being measured"), "PROMOTION_RUNNING");
  }
  judged_ = Judged{name, version};
  return absl::OkStatus();
}

void LiveModels::EndJudging() {
  MutexLock lock(mutex_);
  judged_.reset();
}

bool LiveModels::IsJudged(const std::string& name, const std::string& version) const {
  MutexLock lock(mutex_);
  return judged_.has_value() && judged_->name == name && judged_->version == version;
}

absl::StatusOr<LiveModelInfo> LiveModels::Promote(const std::string& name,
                                                  const std::string& version,
                                                  const std::vector<int>& batch_sizes,
                                                  const Executor& executor, std::stop_token stop,
                                                  const PromotionTerms& terms) {
  DW_RETURN_IF_ERROR(CheckTerms(name, version, terms));
  const WarmUpOptions warm_up{batch_sizes, executor, std::move(stop)};
  if (terms.judge) return PromoteJudged(name, version, warm_up, terms);
  DW_RETURN_IF_ERROR(BeginPromotion());
  const absl::Cleanup end = [this] { EndPromotion(); };
  return PromoteInTurn(name, version, warm_up, terms.canary_percent);
}

absl::StatusOr<LiveModelInfo> LiveModels::Rollback(const std::string& name,
                                                   const std::vector<int>& batch_sizes,
                                                   const Executor& executor, std::stop_token stop) {
  DW_RETURN_IF_ERROR(ValidateName("name", name));
  DW_RETURN_IF_ERROR(BeginPromotion());
  const absl::Cleanup end = [this] { EndPromotion(); };
  DW_RETURN_IF_ERROR(CheckKnown(name));
  DW_ASSIGN_OR_RETURN(const auto record, ReadLive(options_.store, name));
  const std::optional<Standing> standing = Find(name);
  const bool on_trial = record.has_value() && standing.has_value() &&
                        (!record->canary.empty() || !standing->canary.empty());
  if (on_trial) return EndTrial(name, *record, executor);
  if (!record.has_value() || record->previous.empty()) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrFormat("model '%s' has no previous version", name)),
        "NO_PREVIOUS_VERSION");
  }
  return PromoteInTurn(name, record->previous, {batch_sizes, executor, std::move(stop)},
                       /*percent=*/0);
}

absl::StatusOr<LiveModelInfo> LiveModels::PromoteInTurn(const std::string& name,
                                                        const std::string& version,
                                                        const WarmUpOptions& warm_up,
                                                        double percent) {
  if (version == LiveVersion(name)) return Keep(name, version, warm_up.executor);
  DW_ASSIGN_OR_RETURN(Loaded loaded, LoadCandidate(name, version, warm_up, percent));
  if (percent > 0) return GoOnTrial(name, std::move(loaded), percent, warm_up.executor);
  DW_RETURN_IF_ERROR(WriteRecord(name, version));
  return GoLive(name, std::move(loaded), warm_up.executor);
}

// The turn is anybody's while the judge is at work, and so is the memory: what is bad can be rolled back
// meanwhile.
absl::StatusOr<LiveModelInfo> LiveModels::PromoteJudged(const std::string& name,
                                                        const std::string& version,
                                                        const WarmUpOptions& warm_up,
                                                        const PromotionTerms& terms) {
  DW_RETURN_IF_ERROR(BeginJudging(name, version));
  const absl::Cleanup end_judging = [this] { EndJudging(); };
  DW_RETURN_IF_ERROR(BeginPromotion());
  absl::Cleanup end_first = [this] { EndPromotion(); };
  if (version == LiveVersion(name)) return Keep(name, version, warm_up.executor);
  DW_ASSIGN_OR_RETURN(const Candidate candidate,
                      Examine(name, version, warm_up, terms.canary_percent));
  const LiveRecord said = RecordOf(options_.store, name);
  std::move(end_first).Invoke();
  DW_RETURN_IF_ERROR(terms.judge(candidate));
  AwaitPromotion();
  const absl::Cleanup end = [this] { EndPromotion(); };
  const bool same = LiveVersion(name) == candidate.live_version &&
                    SameChoice(RecordOf(options_.store, name), said);
  if (!same) return LiveChanged(name, version);
  return PromoteInTurn(name, version, warm_up, terms.canary_percent);
}

// Whether it loads and runs.
absl::StatusOr<Candidate> LiveModels::Examine(const std::string& name, const std::string& version,
                                              const WarmUpOptions& warm_up, double percent) const {
  DW_ASSIGN_OR_RETURN(const Loaded loaded, LoadCandidate(name, version, warm_up, percent));
  const Standing standing = Find(name).value_or(Standing{});
  return Candidate{.name = name,
                   .version = version,
                   .path = loaded.path,
                   .live_version = standing.info.version,
                   .live_path = standing.path};
}

absl::StatusOr<LiveModels::Loaded> LiveModels::LoadCandidate(const std::string& name,
                                                             const std::string& version,
                                                             const WarmUpOptions& warm_up,
                                                             double percent) const {
  DW_RETURN_IF_ERROR(CheckKnown(name));
  if (percent > 0 && !Find(name).has_value()) {
    return WithReason(absl::FailedPreconditionError(absl::StrFormat(
                          "model '%s' has no live version that a canary could stand beside", name)),
                      "NO_LIVE_MODEL");
  }
  return TakeOrRead(name, version, warm_up);
}

// A canary is loaded and warm already.
absl::StatusOr<LiveModels::Loaded> LiveModels::TakeOrRead(const std::string& name,
                                                          const std::string& version,
                                                          const WarmUpOptions& warm_up) const {
  {
    MutexLock lock(mutex_);
    const auto found = models_.find(name);
    const bool there = found != models_.end() && found->second.canary.there();
    if (there && found->second.canary.version() == version) return found->second.canary;
  }
  return ReadStored(name, version, warm_up);
}

absl::StatusOr<LiveModelInfo> LiveModels::GoOnTrial(const std::string& name, Loaded loaded,
                                                    double percent, const Executor& executor) {
  DW_RETURN_IF_ERROR(WriteTrial(name, loaded.version(), percent));
  return Change(name, executor, [&loaded, percent](Versions& versions) {
    versions.canary = std::move(loaded);
    versions.canary_percent = percent;
    versions.turn = 0;
  });
}

// It is live, but the file may not say so yet, and something else may be on trial.
absl::StatusOr<LiveModelInfo> LiveModels::Keep(const std::string& name, const std::string& version,
                                               const Executor& executor) {
  DW_ASSIGN_OR_RETURN(const auto record, ReadLive(options_.store, name));
  const bool said = record.has_value() && record->version == version && record->canary.empty();
  if (!said) DW_RETURN_IF_ERROR(WriteRecord(name, version));
  return Change(name, executor, [](Versions& versions) { versions.canary = {}; });
}

absl::StatusOr<LiveModelInfo> LiveModels::EndTrial(const std::string& name, LiveRecord record,
                                                   const Executor& executor) {
  record.canary.clear();
  DW_RETURN_IF_ERROR(WriteLive(options_.store, name, record));
  Remember(name, record);
  return Change(name, executor, [](Versions& versions) { versions.canary = {}; });
}

absl::Status LiveModels::WriteRecord(const std::string& name, const std::string& version) {
  const LiveRecord old = RecordOf(options_.store, name);
  LiveRecord next{.version = version, .previous = StoreLive(name)};
  if (next.previous == version) {
    next.previous = old.version == version ? old.previous : old.version;
  }
  DW_RETURN_IF_ERROR(WriteLive(options_.store, name, next));
  Remember(name, next);
  return absl::OkStatus();
}

absl::Status LiveModels::WriteTrial(const std::string& name, const std::string& canary,
                                    double percent) {
  const LiveRecord old = RecordOf(options_.store, name);
  LiveRecord next{.version = StoreLive(name), .canary = canary, .canary_percent = percent};
  if (next.version.empty()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the live version of model '%s' cannot be stored, so that none can be on trial beside it",
        name));
  }
  next.previous = old.version == next.version ? old.previous : old.version;
  DW_RETURN_IF_ERROR(WriteLive(options_.store, name, next));
  Remember(name, next);
  return absl::OkStatus();
}

// The live version, which is in the store when this returns; empty if there is none or it cannot be
// stored: nothing can be rolled back to it then.
std::string LiveModels::StoreLive(const std::string& name) {
  const std::optional<Standing> live = Find(name);
  if (!live.has_value()) return "";
  const std::string& version = live->info.version;
  if (!IsVersion(version)) return "";
  if (ReadManifest(options_.store, name, version).ok()) return version;
  absl::StatusOr<std::string> bytes = ReadFile(live->path);
  if (bytes.ok() && Sha256Hex(*bytes).starts_with(version)) {
    const std::string file = std::filesystem::path(live->path).filename().string();
    const absl::Status added =
        AddVersion(options_.store, name, *bytes, absl::StrCat("copy of ", file), absl::Now())
            .status();
    if (added.ok()) return version;
    bytes = added;
  }
  Log(absl::StrFormat("model %s cannot be rolled back to version %s: %s", name, version,
                      bytes.ok() ? "its file has changed" : bytes.status().ToString()));
  return "";
}

absl::Status LiveModels::CheckKnown(const std::string& name) const {
  std::error_code ignored;
  const bool stored =
      !options_.store.empty() && ValidateName("name", name).ok() &&
      std::filesystem::is_directory(absl::StrCat(options_.store, "/", name), ignored);
  if (stored || Find(name).has_value()) return absl::OkStatus();
  return WithReason(absl::NotFoundError(absl::StrFormat("unknown model '%s'; known: %s",
                                                        ShownText(name), ShownNames(Names()))),
                    "UNKNOWN_MODEL");
}

// --- deleting ---

absl::Status LiveModels::DeleteVersion(const std::string& name, const std::string& version) {
  DW_RETURN_IF_ERROR(CheckPlace(name, version));
  DW_RETURN_IF_ERROR(BeginPromotion());
  const absl::Cleanup end = [this] { EndPromotion(); };
  DW_RETURN_IF_ERROR(CheckKnown(name));
  DW_RETURN_IF_ERROR(CheckUnused(name, version));
  const absl::Status deleted = deweather::DeleteVersion(options_.store, name, version);
  return absl::IsNotFound(deleted) ? WithReason(deleted, "UNKNOWN_VERSION") : deleted;
}

// A server that shares the folder may have written live.json since this one looked.
absl::Status LiveModels::CheckUnused(const std::string& name, const std::string& version) const {
  DW_ASSIGN_OR_RETURN(const auto record, ReadLive(options_.store, name));
  const LiveRecord said = record.value_or(LiveRecord{});
  const Standing standing = Find(name).value_or(Standing{});
  const char* use = IsJudged(name, version) ? "being measured" : nullptr;
  if (version == said.previous) use = "what a rollback goes to";
  if (version == said.canary || version == standing.canary) use = "on trial";
  if (version == said.version || version == standing.info.version) use = "live";
  if (use == nullptr) return absl::OkStatus();
  return WithReason(absl::FailedPreconditionError(absl::StrFormat(
                        "model '%s' version %s is %s, and stays", name, version, use)),
                    "VERSION_IN_USE");
}

void LiveModels::PruneVersions(const std::string& name, int keep) {
  if (!BeginPromotion().ok()) return;
  const absl::Cleanup end = [this] { EndPromotion(); };
  int seen = 0;
  const VersionList list = ListVersions(options_.store, name);
  for (const VersionManifest& manifest : list.versions) {
    if (!manifest.source.starts_with("job ") || seen++ < keep) continue;
    if (!CheckUnused(name, manifest.version).ok()) continue;
    const absl::Status deleted = deweather::DeleteVersion(options_.store, name, manifest.version);
    const std::string which = absl::StrFormat("model %s version %s", name, manifest.version);
    Log(deleted.ok() ? absl::StrFormat("%s is deleted: jobs made %d newer ones", which, keep)
                     : absl::StrFormat("%s cannot be deleted: %s", which, deleted.ToString()));
  }
}

// --- following ---

void LiveModels::Follow(const std::vector<int>& batch_sizes, const Executor& executor,
                        std::stop_token stop, absl::Time now) {
  if (options_.store.empty()) return;
  const WarmUpOptions warm_up{batch_sizes, executor, std::move(stop)};
  for (const std::string& name : ListStoredNames(options_.store)) {
    // A look takes no turn: it would get in the way of somebody's promotion.
    if (!NewsOf(name, now).has_value() || !BeginPromotion().ok()) continue;
    const absl::Cleanup end = [this] { EndPromotion(); };
    FollowName(name, warm_up, now);
  }
}

// What live.json newly says; nothing if there is nothing to do.
std::optional<LiveRecord> LiveModels::NewsOf(const std::string& name, absl::Time now) {
  const auto record = ReadLive(options_.store, name);
  if (!record.ok()) LogOnce(record.status().ToString());
  if (!record.ok() || !record->has_value()) return std::nullopt;
  if (!(*record)->problem.empty()) LogOnce((*record)->problem);
  MutexLock lock(mutex_);
  const auto found = followed_.find(name);
  if (found == followed_.end() || !SameChoice(found->second.record, **record)) return **record;
  const absl::Time failed = found->second.failed;
  const bool again = failed != absl::InfinitePast() && now >= failed + kRetryFollowing;
  return again ? *record : std::nullopt;
}

// Asks again: a promotion may have ended since.
void LiveModels::FollowName(const std::string& name, const WarmUpOptions& warm_up, absl::Time now) {
  const std::optional<LiveRecord> record = NewsOf(name, now);
  if (!record.has_value()) return;
  Remember(name, *record);
  absl::Status status = FollowLive(name, *record, warm_up);
  std::string version = record->version;
  if (status.ok()) {
    status = FollowCanary(name, *record, warm_up);
    version = record->canary;
  }
  if (status.ok()) return;
  Remember(name, *record, now);
  LogOnce(absl::StrFormat("model %s version %s cannot be followed: %s", name, version,
                          status.ToString()));
}

absl::Status LiveModels::FollowLive(const std::string& name, const LiveRecord& record,
                                    const WarmUpOptions& warm_up) {
  const std::optional<Standing> standing = Find(name);
  if (standing.has_value() && standing->info.version == record.version) return absl::OkStatus();
  DW_ASSIGN_OR_RETURN(Loaded loaded, TakeOrRead(name, record.version, warm_up));
  GoLive(name, std::move(loaded), warm_up.executor);
  Log(absl::StrFormat("model %s version %s is live, as its live.json says", name, record.version));
  return absl::OkStatus();
}

// REQUIRES: the live version is the record's. What was on trial before makes way first.
absl::Status LiveModels::FollowCanary(const std::string& name, const LiveRecord& record,
                                      const WarmUpOptions& warm_up) {
  const Standing standing = Find(name).value_or(Standing{});
  const bool same_share = standing.canary_percent == record.canary_percent;
  if (standing.canary == record.canary && (same_share || record.canary.empty())) {
    return absl::OkStatus();
  }
  if (standing.canary != record.canary && !standing.canary.empty()) {
    Change(name, warm_up.executor, [](Versions& versions) { versions.canary = {}; });
    Log(absl::StrFormat("the trial of model %s version %s has ended, as its live.json says", name,
                        standing.canary));
  }
  if (record.canary.empty()) return absl::OkStatus();
  DW_ASSIGN_OR_RETURN(Loaded loaded, TakeOrRead(name, record.canary, warm_up));
  Change(name, warm_up.executor, [&](Versions& versions) {
    versions.canary = std::move(loaded);
    versions.canary_percent = record.canary_percent;
  });
  Log(absl::StrCat(Share(name, record), ", as its live.json says"));
  return absl::OkStatus();
}

void LiveModels::Remember(const std::string& name, const LiveRecord& record, absl::Time failed) {
  MutexLock lock(mutex_);
  followed_[name] = {record, failed};
}

}  // namespace deweather
