// Why a request failed, for programs: a word that travels inside the status beside its message.

#ifndef DEWEATHER_MODEL_BASE_ERROR_REASON_H_
#define DEWEATHER_MODEL_BASE_ERROR_REASON_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace deweather {

// The reason of a failed request, UPPER_SNAKE for google.rpc.ErrorInfo: INVALID_IMAGE, PIXEL_LIMIT,
// INVALID_OPTION, UNSUPPORTED_OPTION, TASK_REQUIRED, UNKNOWN_TASK, NOT_ROUTED, UNKNOWN_MODEL,
// NO_LIVE_MODEL, BYTE_BUDGET, TILE_BUDGET, CALLER_QUOTA, DEADLINE_TOO_SHORT, DRAINING, MODEL_FAILED,
// NOT_ENCODABLE, REPLY_SIZE; of a promotion UNKNOWN_MODEL, UNKNOWN_VERSION, NO_DATA_FOLDER, NO_PREVIOUS_VERSION, PROMOTION_RUNNING,
// TORN_VERSION, MODEL_BUDGET, MODEL_FAILED; of a delete VERSION_IN_USE; of who may call TOKEN_MISSING,
// TOKEN_UNKNOWN, WRONG_GROUP, NOT_SERVED; of messages MESSAGE_SIZE, MALFORMED_MESSAGE; of a stream STREAM_IDLE and what
// restoration.proto names; else the name of the code
// (DEADLINE_EXCEEDED, CANCELLED).
std::string ErrorReason(const absl::Status& status);

// `status` with `reason`, unless it has one already. An OK status stays as it is.
absl::Status WithReason(absl::Status status, const char* reason);

// When the same request may succeed, if trying again makes sense; nullopt: none was set.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);
absl::Status WithRetryDelay(absl::Status status, absl::Duration delay);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_BASE_ERROR_REASON_H_
