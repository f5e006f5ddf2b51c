#include "deweather/options.h"

namespace deweather {

Cancellation::Cancellation() : stop_(std::make_shared<std::atomic<bool>>(false)) {}

void Cancellation::Cancel() const noexcept { *stop_ = true; }
bool Cancellation::cancelled() const noexcept { return *stop_; }

}  // namespace deweather
