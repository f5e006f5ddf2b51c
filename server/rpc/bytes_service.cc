#include "server/rpc/bytes_service.h"

#include <google/protobuf/descriptor.h>

#include <cstdlib>

namespace deweather {

int MethodIndex(const std::string& service, const std::string& method) {
  using google::protobuf::DescriptorPool;
  const auto* const found = DescriptorPool::generated_pool()->FindServiceByName(service);
  const auto* const place = found == nullptr ? nullptr : found->FindMethodByName(method);
  if (place == nullptr) std::abort();
  return place->index();
}

}  // namespace deweather
