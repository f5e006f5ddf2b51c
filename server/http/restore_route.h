// POST /v1/restore: a picture file in, the restored one out; RestorationService's Restore without its message.
//
// Threads  thread-safe: pure functions
// Errors   INVALID_ARGUMENT INVALID_OPTION a query that is none of Restore's options; the message names the
//          option, its value and what it may be

#ifndef DEWEATHER_SERVER_HTTP_RESTORE_ROUTE_H_
#define DEWEATHER_SERVER_HTTP_RESTORE_ROUTE_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "deweather/v1/restoration.pb.h"
#include "model/base/server_options.h"
#include "server/http/http_message.h"
#include "server/http/plan.h"

namespace deweather {

// The options of a query by their names in RestoreOptions: format=png&strength=0.5. Values of enums in lower case,
// without the enum's name. The maps, which a reply of one picture has no room for, are none of them.
absl::StatusOr<v1::RestoreOptions> ParseRestoreQuery(std::string_view query);

// The picture, and what else there is to tell in headers: deweather-model, server-timing.
HttpReply WriteRestoreReply(v1::RestoreResponse response);

Plan PlanRestore(const HttpRequest& request, const LimitOptions& limits);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_RESTORE_ROUTE_H_
