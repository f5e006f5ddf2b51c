// What became of the calls of a load, in memory that does not grow with their number.
//
// Threads  one thread at a time

#ifndef DEWEATHER_CLIENT_BENCH_STATS_H_
#define DEWEATHER_CLIENT_BENCH_STATS_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace deweather {

// Durations in buckets that grow by half a percent: quantiles are off by no more than that.
// 1 us to 28 hours; what lies beyond counts as the nearest.
class DurationHistogram {
 public:
  void Add(absl::Duration duration);

  int64_t count() const { return count_; }
  absl::Duration max() const { return max_; }
  absl::Duration Mean() const;
  // The least upper edge that at least q of the durations lie under, 0 < q <= 1; at most max().
  // 0 without durations.
  absl::Duration Quantile(double q) const;

 private:
  std::vector<int64_t> buckets_;  // empty until the first duration
  int64_t count_ = 0;
  absl::Duration sum_;
  absl::Duration max_;
};

inline constexpr std::array<const char*, 6> kBenchStages = {"decode", "queue",  "infer",
                                                            "blend",  "encode", "total"};

// One call that has ended.
struct CallOutcome {
  size_t part = 0;     // of the mix
  size_t picture = 0;  // that was sent
  absl::Time due;      // when it should have been sent
  absl::Time sent;
  absl::Time ended;
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string reason;      // ErrorInfo's; empty: none
  bool abandoned = false;  // the load was interrupted and this call with it

  // Of an OK reply.
  std::array<absl::Duration, 6> stages{};  // kBenchStages, on the server
  int64_t tiles = 0;
  int64_t batches = 0;
  int64_t pixels = 0;
  std::string model;    // name and version
  uint64_t digest = 0;  // of the restored file; 0: not looked at
};

struct PartTally {
  int64_t sent = 0;
  int64_t ok = 0;
  DurationHistogram latency;  // of OK replies
};

struct ErrorTally {
  DurationHistogram latency;
  std::map<std::string, int64_t> reasons;
};

// Counts the calls that were due within the window; those of the warm-up only serve to compare
// replies. Latencies count from when the call was due. Throughput counts what ended within the
// window instead, whenever it was due: what a server does later is no speed within the window.
class BenchTally {
 public:
  BenchTally(size_t parts, absl::Time window_start, absl::Time window_end);

  void Add(const CallOutcome& call);
  // A call that was due and could not be sent.
  void AddNotSent(absl::Time due);

  const std::vector<PartTally>& parts() const { return parts_; }
  const std::map<absl::StatusCode, ErrorTally>& errors() const { return errors_; }
  const std::map<std::string, int64_t>& models() const { return models_; }
  const std::array<DurationHistogram, 6>& stages() const { return stages_; }

  int64_t sent = 0;  // ok + wrong + errors + abandoned
  int64_t ok = 0;
  int64_t wrong = 0;
  int64_t error_count = 0;
  int64_t abandoned = 0;
  int64_t not_sent = 0;
  int64_t wrong_in_warmup = 0;
  int64_t tiles = 0;             // of OK replies, as the next two
  int64_t batches = 0;           // that held at least one tile of the reply, maybe others' too
  int64_t ok_in_window = 0;      // good replies that ended within the window
  int64_t pixels_in_window = 0;  // of those
  DurationHistogram latency;     // of OK replies
  DurationHistogram transport;   // of OK replies: what the client waited beyond the server's total
  DurationHistogram send_delay;  // of all calls: from due to sent

 private:
  // Whether the reply differs from the first one to the same picture by the same model.
  bool IsWrong(const CallOutcome& call);
  void AddThroughput(const CallOutcome& call);
  void AddReply(const CallOutcome& call);
  void AddError(const CallOutcome& call);

  const absl::Time window_start_;
  const absl::Time window_end_;
  std::vector<PartTally> parts_;
  std::map<absl::StatusCode, ErrorTally> errors_;
  std::map<std::string, int64_t> models_;
  std::array<DurationHistogram, 6> stages_;
  std::map<std::pair<size_t, std::string>, uint64_t> digests_;  // by picture and model
};

// A load that is over.
struct BenchResult {
  BenchTally tally;
  absl::Duration window;     // without the warm-up; shorter than asked for if it was interrupted
  bool interrupted = false;  // by a signal, before its last call had ended
};

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_BENCH_STATS_H_
