#include "client/call_headers.h"

#include <grpcpp/support/status.h>
#include <openssl/rand.h>

#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/channel.h"

namespace deweather {
namespace {

using grpc::experimental::ClientRpcInfo;
using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;

// Whether the server's log says more of it.
bool IsLogged(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::DATA_LOSS:
      return true;
    case grpc::StatusCode::UNAVAILABLE:
      return !ReasonOf(status).empty();
    default:
      return false;
  }
}

class HeaderInterceptor final : public Interceptor {
 public:
  explicit HeaderInterceptor(const std::string& token) : token_(token) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      auto& headers = *methods->GetSendInitialMetadata();
      const auto found = headers.find(kRequestIdHeader);
      id_ = found != headers.end() ? found->second : NewRequestId();
      if (found == headers.end()) headers.insert({kRequestIdHeader, id_});
      if (!token_.empty()) headers.insert({"authorization", absl::StrCat("Bearer ", token_)});
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_STATUS)) {
      grpc::Status& status = *methods->GetRecvStatus();
      if (IsLogged(status)) {
        status = {status.error_code(), absl::StrCat(status.error_message(), " (request ", id_, ")"),
                  status.error_details()};
      }
    }
    methods->Proceed();
  }

 private:
  const std::string& token_;
  std::string id_;
};

class HeaderFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit HeaderFactory(std::string token) : token_(std::move(token)) {}

  // gRPC takes it; the channel, and so the token, outlives its calls.
  Interceptor* CreateClientInterceptor(ClientRpcInfo*) override {
    return new HeaderInterceptor(token_);
  }

 private:
  const std::string token_;
};

}  // namespace

std::string NewRequestId() {
  std::array<unsigned char, 16> bytes{};
  RAND_bytes(bytes.data(), bytes.size());
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void SetRequestId(const std::string& id, grpc::ClientContext& context) {
  if (!id.empty()) context.AddMetadata(kRequestIdHeader, id);
}

InterceptorFactories CallHeaders(const std::string& token) {
  InterceptorFactories factories;
  factories.push_back(std::make_unique<HeaderFactory>(token));
  return factories;
}

}  // namespace deweather
