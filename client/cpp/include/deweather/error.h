// How a call fails: by an exception.
//
// Exceptions, since std::expected is not there before C++23, and since a program that reads a picture, restores it and
// writes it has one place that can do something about a failure. What may happen to single frames of a stream is a value
// instead (FrameResult), as it does not end the stream.

#ifndef DEWEATHER_ERROR_H_
#define DEWEATHER_ERROR_H_

#include <deweather/export.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

namespace deweather {

// The codes of gRPC, with its numbers.
enum class ErrorCode {
  kCancelled = 1,         // by a Cancellation
  kUnknown = 2,           //
  kInvalidArgument = 3,   // no picture, an option out of its range: the same again fails again
  kDeadlineExceeded = 4,  //
  kNotFound = 5,          // no such model, version, job or file
  kAlreadyExists = 6,     //
  kPermissionDenied = 7,  // the token does not allow it
  kResourceExhausted =
      8,  // the server is full, try again after retry_delay(); or something is too large
  kFailedPrecondition = 9,  // not now: a job in another state, a disk that cannot be written
  kAborted = 10,            // something else was faster: try again
  kOutOfRange = 11,         //
  kUnimplemented = 12,      // an older server
  kInternal = 13,           // the server's log says more, by request_id()
  kUnavailable = 14,        // no server, or one that goes down; the message says what was seen
  kDataLoss = 15,           // what came is not what was sent
  kUnauthenticated = 16,    // no token, or an unknown one
};

// "NOT_FOUND".
DEWEATHER_EXPORT const char* CodeName(ErrorCode code) noexcept;

// what() is "NOT_FOUND: no model 'x'". Copies share what they say, and never throw.
class DEWEATHER_EXPORT Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, const std::string& reason = "",
        std::chrono::milliseconds retry_delay = {}, const std::string& request_id = "");
  Error(const Error&) noexcept;
  Error& operator=(const Error&) noexcept;
  ~Error() override;

  ErrorCode code() const noexcept;

  // For people: names the value and the limit.
  const std::string& message() const noexcept;

  // For programs: "UNKNOWN_MODEL"; the API's comments list them. Empty: the server gave none.
  const std::string& reason() const noexcept;

  // When the same call may succeed; 0: the server did not say.
  std::chrono::milliseconds retry_delay() const noexcept;

  // Finds the call in the server's log; empty: nothing was sent.
  const std::string& request_id() const noexcept;

 private:
  struct Details;
  std::shared_ptr<const Details> details_;
};

}  // namespace deweather

#endif  // DEWEATHER_ERROR_H_
