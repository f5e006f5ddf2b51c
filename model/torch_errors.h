// Torch throws; the rest of the system does not. This is where the one becomes the other.

#ifndef DEWEATHER_MODEL_TORCH_ERRORS_H_
#define DEWEATHER_MODEL_TORCH_ERRORS_H_

#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace deweather {

// The first line of what Torch says, without its C++ stack.
inline std::string_view FirstLine(std::string_view text) { return text.substr(0, text.find('\n')); }

// Runs `body`, which returns an absl::Status or absl::StatusOr; an exception of Torch becomes
// RESOURCE_EXHAUSTED (out of memory) or INTERNAL, beginning with `what`.
template <typename Body>
auto CatchTorch(std::string_view what, Body&& body) -> decltype(body()) {
  try {
    return std::forward<Body>(body)();
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%s: %s", what, FirstLine(error.what_without_backtrace())));
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
