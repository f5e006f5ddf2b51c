// Torch throws; the rest of the system does not. This is where the one becomes the other.

#ifndef DEWEATHER_MODEL_TORCH_ERRORS_H_
#define DEWEATHER_MODEL_TORCH_ERRORS_H_

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "model/base/device_failure.h"

namespace deweather {

// The first line of what Torch says, without its C++ stack.
inline std::string_view FirstLine(std::string_view text) { return text.substr(0, text.find('\n')); }

// CUDA's sticky errors (cudaError_t): after one of them every call of the process fails.
inline bool IsSticky(int32_t code) {
  constexpr std::array<int32_t, 12> kSticky = {214,   // uncorrectable memory error
                                               700,   // illegal address
                                               702,   // launch timeout
                                               710,   // assertion on the device
                                               714,   // hardware stack error
                                               715,   // illegal instruction
                                               716,   // misaligned address
                                               717,   // invalid address space
                                               718,   // invalid program counter
                                               719,   // launch failure
                                               721,   // contained error
                                               999};  // unknown
  return std::find(kSticky.begin(), kSticky.end(), code) != kSticky.end();
}

// Runs `body`, which returns an absl::Status or absl::StatusOr; an exception of Torch becomes
// RESOURCE_EXHAUSTED (out of memory) or INTERNAL, beginning with `what`. One after which the device
// computes nothing more is marked (model/base/device_failure.h).
template <typename Body>
auto CatchTorch(std::string_view what, Body&& body) -> decltype(body()) {
  try {
    return std::forward<Body>(body)();
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%s: %s", what, FirstLine(error.what_without_backtrace())));
  } catch (const c10::AcceleratorError& error) {
    const absl::Status status = absl::InternalError(
        absl::StrFormat("%s: %s", what, FirstLine(error.what_without_backtrace())));
    return IsSticky(error.get_error_code()) ? MarkDeviceFailure(status) : status;
  } catch (const c10::Error& error) {
    const std::string_view line = FirstLine(error.what_without_backtrace());
    // The CPU allocator reports its failure as a plain c10::Error.
    const bool memory = line.find("not enough memory") != line.npos ||
                        line.find("can't allocate memory") != line.npos;
    const std::string message = absl::StrFormat("%s: %s", what, line);
    return memory ? absl::ResourceExhaustedError(message) : absl::InternalError(message);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrFormat("%s: out of memory", what));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrFormat("%s: %s", what, FirstLine(error.what())));
  }
}

}  // namespace deweather

#endif  // DEWEATHER_MODEL_TORCH_ERRORS_H_
