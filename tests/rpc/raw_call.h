// A call whose messages are bytes, as a caller with a broken library sends them.

#ifndef DEWEATHER_TESTS_RPC_RAW_CALL_H_
#define DEWEATHER_TESTS_RPC_RAW_CALL_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace deweather {

class RawCall {
 public:
  // `method` is "package.Service/Method".
  RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
          const std::string& token = "")
      : stub_(channel) {
    if (!token.empty()) context_.AddMetadata("authorization", "Bearer " + token);
    context_.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
    stream_ = stub_.PrepareCall(&context_, "/" + method, &queue_);
    stream_->StartCall(this);
    Await();
  }
  ~RawCall() { queue_.Shutdown(); }

  void Send(const std::string& bytes) {
    const grpc::Slice slice(bytes);
    stream_->Write(grpc::ByteBuffer(&slice, 1), this);
    Await();
  }

  // Reads first: the status does not come while a reply waits.
  grpc::Status Finish() {
    grpc::ByteBuffer reply;
    do stream_->Read(&reply, this);
    while (Await());
    grpc::Status status;
    stream_->Finish(&status, this);
    Await();
    return status;
  }

 private:
  // Whether what was begun came out well.
  bool Await() {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue_.Next(&tag, &ok));
    return ok;
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_RPC_RAW_CALL_H_
