// ImportModel: a checkpoint in chunks becomes a version of a model.
//
//   start → chunks → the caller closes its side → check → store
//
// The file lies without a name in the data folder while it comes: whatever goes wrong, and a crash too,
// leaves nothing of it. It is read into memory to be checked.
// Errors   see ModelService.ImportModel

#ifndef DEWEATHER_SERVER_RPC_IMPORT_CALL_H_
#define DEWEATHER_SERVER_RPC_IMPORT_CALL_H_

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "deweather/v1/model.grpc.pb.h"
#include "model/base/sha256.h"
#include "server/rpc/read_call.h"

namespace deweather {

// What all imports of a server share.
struct ImportParts {
  const std::string store;           // DATA/models; empty: there is none
  const int64_t max_bytes;           // of all files under way together
  const int64_t min_free_bytes = 0;  // of the disk, which no import takes
  std::atomic<int64_t> bytes = 0;
};

class ImportCall final : public ReadCall<v1::ImportModelRequest, v1::ImportModelResponse> {
 public:
  ImportCall(CallParts& parts, ImportParts& imports, WorkerPool& workers,
             grpc::CallbackServerContext& context, Arrival arrival, grpc::ByteBuffer* response)
      : ReadCall(parts, workers, context, std::move(arrival), response), imports_(imports) {}

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  absl::Status Take(v1::ImportModelRequest message) override;
  absl::StatusOr<v1::ImportModelResponse> Complete() override;
  void Release() override;

  absl::Status OnStart(v1::ImportModelRequest::Start start);
  absl::Status OnChunk(const std::string& chunk);
  absl::Status TakeRoom();
  absl::Status CheckDisk() const;
  absl::Status OpenFile();
  absl::StatusOr<std::string> ReadBack();

  ImportParts& imports_;
  bool started_ = false;
  v1::ImportModelRequest::Start start_;
  int64_t room_ = 0;  // of imports_.bytes
  std::unique_ptr<std::FILE, Close> file_;
  int64_t arrived_ = 0;
  Sha256 hash_;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_IMPORT_CALL_H_
