// Lists that come by pages, and how they are told.

#ifndef DEWEATHER_CLIENT_PAGES_H_
#define DEWEATHER_CLIENT_PAGES_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "client/channel.h"

namespace deweather {

// Calls `list` of `stub` page after page and gives each reply to `take`, until that returns false or there
// is no more.
template <typename Stub, typename Request, typename Response, typename Take>
grpc::Status ReadPages(const ServerFlags& flags, Stub& stub,
                       grpc::Status (Stub::*list)(grpc::ClientContext*, const Request&, Response*),
                       Request request, const Take& take) {
  for (;;) {
    grpc::ClientContext context;
    SetDeadline(flags, context);
    Response response;
    const grpc::Status status = (stub.*list)(&context, request, &response);
    if (!status.ok()) return status;
    if (!take(response) || response.next_page_token().empty()) return grpc::Status::OK;
    request.set_page_token(response.next_page_token());
  }
}

template <typename Item>
nlohmann::json ListJson(const std::vector<Item>& items, nlohmann::json (*item_json)(const Item&)) {
  nlohmann::json list = nlohmann::json::array();
  for (const Item& item : items) list.push_back(item_json(item));
  return list;
}

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_PAGES_H_
