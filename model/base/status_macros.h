// Early return on a failed absl::Status or absl::StatusOr.

#ifndef DEWEATHER_MODEL_BASE_STATUS_MACROS_H_
#define DEWEATHER_MODEL_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the calling function if `expression` (an absl::Status) is not OK.
#define DW_RETURN_IF_ERROR(expression)     \
  do {                                     \
    absl::Status dw_status = (expression); \
    if (!dw_status.ok()) return dw_status; \
  } while (false)

// Declares or assigns `target` from `expression` (an absl::StatusOr), or returns its error.
#define DW_ASSIGN_OR_RETURN(target, expression) \
  DW_ASSIGN_OR_RETURN_IMPL_(DW_CONCAT_(dw_status_or_, __LINE__), target, expression)

#define DW_CONCAT_INNER_(a, b) a##b
#define DW_CONCAT_(a, b) DW_CONCAT_INNER_(a, b)
#define DW_ASSIGN_OR_RETURN_IMPL_(status_or, target, expression) \
  auto status_or = (expression);                                 \
  if (!status_or.ok()) return std::move(status_or).status();     \
  target = *std::move(status_or)

#endif  // DEWEATHER_MODEL_BASE_STATUS_MACROS_H_
