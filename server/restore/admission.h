// Who may come in: budgets of bytes and tiles, a quota for each caller, and no request whose deadline
// the work ahead of it makes hopeless. Nobody waits for a place: refusals are immediate.
//
// Math     A request of work w (tiles · time of a tile in a full batch), which takes a >= w in batches
//          of its own, ends about
//            f · (a − w + own + Σ_callers min(V, own) + c + C / workers), own = w + Σ_requests min(v, w)
//          after now: its caller's other requests (work left v) take turns with it, and so do the
//          other callers (work left V) with its caller. Background counts all normal work as ahead.
//          c is the time that its decoding, blending and encoding take, C that of those in flight.
//          f, in [1/2, 4], is how much longer than predicted the last requests took. A quarter of that must
//          be left until the deadline. Nothing in flight means no refusal by deadline, so that a wrong
//          prediction is always found out.
// Threads  thread-safe
// Errors   RESOURCE_EXHAUSTED, with a delay after which to try again (RetryDelay) and a reason:
//          BYTE_BUDGET, TILE_BUDGET, CALLER_QUOTA, DEADLINE_TOO_SHORT · DEADLINE_EXCEEDED

#ifndef DEWEATHER_SERVER_RESTORE_ADMISSION_H_
#define DEWEATHER_SERVER_RESTORE_ADMISSION_H_

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "model/base/server_options.h"
#include "server/batch/batch_cost.h"
#include "server/batch/call.h"

namespace deweather {

class Admission {
 public:
  // What a request would hold and cost. One that is larger than a budget or a quota is still served
  // while nobody (or nothing else of its caller) holds anything.
  struct Demand {
    std::string caller;
    Priority priority = Priority::kNormal;
    int64_t bytes = 0;
    int64_t window_tiles = 0;  // at most so many wait or run at a time
    int64_t tiles = 0;         // in all
    int64_t picture_pixels = 0;
    bool overtaken = false;  // its decoding and encoding are long, and let others' pass
    int64_t tile_pixels = 0;
    CostFit cost = {};  // of its model; unknown: no prediction, no refusal by deadline
    absl::Time deadline = absl::InfiniteFuture();
  };

  struct Held {
    int64_t requests = 0;
    int64_t bytes = 0;
    int64_t tiles = 0;
  };

  // What a request, or several together, hold.
  struct Needs {
    int64_t bytes = 0;
    int64_t window_tiles = 0;
  };

  // What one request holds, given back when destroyed.
  class Share;

  // Batches are predicted to be of `max_batch` tiles; `workers` threads decode, blend and encode.
  // REQUIRES: both >= 1.
  Admission(const AdmissionOptions& options, int max_batch, int workers)
      : options_(options), max_batch_(max_batch), workers_(workers) {}

  // `reserved`, if any, is given up for the share in the same step.
  absl::StatusOr<std::unique_ptr<Share>> Admit(const Demand& demand, absl::Time now,
                                               std::unique_ptr<Share> reserved = nullptr);

  // Whether a caller may hold so much at a time, where nobody else holds anything: INVALID_ARGUMENT if not.
  absl::Status CheckTogether(const Needs& needs) const;

  // Decoding, blending and encoding a picture took a worker so long, all together.
  void LearnCodec(int64_t pixels, absl::Duration time) { codec_cost_.Add(pixels, time); }

  Held held() const;

 private:
  // An admitted request, in its caller's list.
  struct Entry {
    Demand demand;
    absl::Time start;
    absl::Duration predicted;  // as computed at `start`, without the factor f
    absl::Duration work_left;  // its share of full batches
    absl::Duration codec;      // that others wait for
    int64_t tiles_left = 0;
  };
  struct Caller {
    int64_t bytes = 0;
    int64_t tiles = 0;
    std::array<absl::Duration, 2> work_left = {};  // by Priority
    std::list<Entry> entries = {};
  };
  using Callers = std::map<std::string, Caller>;

  absl::Status CheckRoom(const Demand& demand) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckQuota(const Demand& demand) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckDeadline(const Demand& demand, absl::Duration predicted, absl::Time now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Needs Quota() const;
  absl::Duration Predict(const Demand& demand) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration Codec(const Demand& demand) const;
  absl::Duration Alone(const Demand& demand) const;
  absl::Duration Work(const Demand& demand) const;
  absl::Duration DrainTime(double share) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Hold(Caller& caller, const Entry& entry, int sign) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Release(const Share& share);
  void Erase(const Share& share) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TileDone(const Share& share);
  void Learn(const Entry& entry, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  double Lateness() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const AdmissionOptions options_;
  const int max_batch_;
  const int workers_;
  BatchCost codec_cost_;  // of decoding, blending and encoding a picture

  mutable Mutex mutex_;
  Held held_ ABSL_GUARDED_BY(mutex_);
  Callers callers_ ABSL_GUARDED_BY(mutex_);
  absl::Duration codec_ ABSL_GUARDED_BY(mutex_);  // of all entries
  int64_t teachers_ ABSL_GUARDED_BY(mutex_) = 0;  // entries whose time was predicted
  // Of the requests that ended lately, weighted towards the last ones.
  absl::Duration predicted_ ABSL_GUARDED_BY(mutex_);
  absl::Duration taken_ ABSL_GUARDED_BY(mutex_);
};

// Threads  one at a time; the Admission must outlive it
class Admission::Share {
 public:
  ~Share() {
    if (holds_) admission_.Release(*this);
  }
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;

  // One of its tiles less is ahead of others.
  void TileDone() { admission_.TileDone(*this); }

 private:
  friend class Admission;
  Share(Admission& admission, Callers::iterator caller, std::list<Entry>::iterator entry)
      : admission_(admission), caller_(caller), entry_(entry) {}

  Admission& admission_;
  const Callers::iterator caller_;
  const std::list<Entry>::iterator entry_;
  bool holds_ = true;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RESTORE_ADMISSION_H_
