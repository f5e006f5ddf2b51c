// Which path is whose.
//
//   POST /v1/restore                     restore_route.h
//   POST /deweather.v1.SERVICE/METHOD    connect.h
//   /v2/...                              inference_rest.h
//   GET  /healthz, /readyz, /metrics     here
//   GET  /, /console/...                 console_files.h
//
// Threads  thread-safe: pure functions, if `metrics` is

#ifndef DEWEATHER_SERVER_HTTP_ROUTES_H_
#define DEWEATHER_SERVER_HTTP_ROUTES_H_

#include <functional>
#include <string>

#include "model/base/server_options.h"
#include "server/http/http_message.h"
#include "server/http/plan.h"

namespace deweather {

struct RouteParts {
  LimitOptions limits = {};
  AccessRule health = AccessRule::kAnyone;  // of /healthz and /readyz
  std::function<std::string()> metrics;     // in Prometheus' text format
};

// Of a path that there is not, or with a method that it does not take: one that is refused with 404 or 405.
// `parts` must outlive the plan.
Plan PlanOf(const HttpRequest& request, const RouteParts& parts);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_ROUTES_H_
