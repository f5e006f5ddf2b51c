#include "training/stage_clock.h"

#include <ATen/record_function.h>

#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "model/device.h"

namespace deweather {
namespace {

thread_local StageClock* running = nullptr;

}  // namespace

// One time in a stage.
struct StageClock::Visit : at::ObserverContext {
  static absl::Time Now(at::Device device) {
    WaitFor(device);
    return absl::Now();
  }
  static std::unique_ptr<at::ObserverContext> Begin(const at::RecordFunction&) {
    auto visit = std::make_unique<Visit>();
    visit->outer = std::exchange(running->innermost_, visit.get());
    visit->begin = Now(running->device_);
    return visit;
  }
  static void End(const at::RecordFunction& function, at::ObserverContext* context) {
    auto* visit = static_cast<Visit*>(context);
    const absl::Duration took = Now(running->device_) - visit->begin;
    running->milliseconds_[function.name()] += absl::ToDoubleMilliseconds(took - visit->within);
    if (visit->outer != nullptr) visit->outer->within += took;
    running->innermost_ = visit->outer;
  }

  Visit* outer = nullptr;
  absl::Time begin;
  absl::Duration within;  // in stages inside this one
};

StageClock::StageClock(at::Device device) : device_(device) {
  running = this;
  callback_ = at::addThreadLocalCallback(
      at::RecordFunctionCallback(Visit::Begin, Visit::End).scopes({at::RecordScope::USER_SCOPE}));
}

StageClock::~StageClock() {
  at::removeCallback(callback_);
  running = nullptr;
}

}  // namespace deweather
