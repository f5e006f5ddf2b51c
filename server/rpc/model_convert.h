// Between messages of ModelService and what LiveModels knows.
//
// Threads  thread-safe: pure functions
// Errors   INVALID_ARGUMENT; the message begins with the field

#ifndef DEWEATHER_SERVER_RPC_MODEL_CONVERT_H_
#define DEWEATHER_SERVER_RPC_MODEL_CONVERT_H_

#include <string>

#include "absl/status/statusor.h"
#include "deweather/v1/model.pb.h"
#include "server/restore/live_models.h"

namespace deweather {

v1::Model ToMessage(const ModelStatus& status);

// Names after `after`, in their order.
struct Page {
  int size = 0;
  std::string after;
};

absl::StatusOr<Page> ToPage(const v1::ListModelsRequest& request);

// Of the page that follows the one which ends with this name.
std::string PageToken(const std::string& last);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_MODEL_CONVERT_H_
