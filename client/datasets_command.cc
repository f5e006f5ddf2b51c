#include "client/datasets_command.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/dataset_plan.h"
#include "client/diagnose.h"
#include "client/output.h"
#include "client/pages.h"
#include "client/transfer.h"
#include "deweather/v1/training.grpc.pb.h"
#include "model/base/file.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

using nlohmann::json;
using Stub = v1::TrainingService::Stub;
using Writer = grpc::ClientWriter<v1::UploadDatasetRequest>;

std::string KindText(const v1::Dataset& dataset) {
  return EnumWord(v1::Dataset::Kind_Name(dataset.kind()), "KIND_");
}

v1::Dataset::Kind KindOf(const DatasetsFlags& flags) {
  if (flags.pairs) return v1::Dataset::KIND_PAIRS;
  return flags.clean ? v1::Dataset::KIND_CLEAN : v1::Dataset::KIND_UNSPECIFIED;
}

// False once the server takes no more: its answer comes with the end of the call.
bool SendPicture(Writer& writer, const PlannedPicture& picture, const std::string& bytes) {
  v1::UploadDatasetRequest request;
  request.mutable_file()->set_path(picture.path);
  request.mutable_file()->set_bytes(static_cast<int64_t>(bytes.size()));
  request.mutable_file()->set_sha256(Sha256Hex(bytes));
  return writer.Write(request) && SendInChunks(bytes, [&](std::string_view piece) {
           request.set_chunk(std::string(piece));
           return writer.Write(request);
         });
}

// An error is one of this machine; the server's comes with the end of the call.
absl::Status SendAll(Writer& writer, const DatasetsFlags& flags, const DatasetPlan& plan) {
  TransferProgress progress;
  v1::UploadDatasetRequest request;
  request.mutable_start()->set_name(flags.name);
  request.mutable_start()->set_kind(plan.kind);
  bool taken = writer.Write(request);
  int64_t sent = 0;
  for (const PlannedPicture& picture : plan.pictures) {
    if (!taken) return absl::OkStatus();
    progress.Tell(picture.path, sent, plan.bytes);
    DW_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(picture.source));
    taken = SendPicture(writer, picture, bytes);
    sent += picture.bytes;
  }
  if (taken) writer.WritesDone();
  return absl::OkStatus();
}

// What is known of one, as `list` tells it.
void PrintDataset(const DatasetsFlags& flags, const v1::Dataset& dataset) {
  if (flags.json) return PrintJson(DatasetJson(dataset));
  absl::PrintF("%s", DatasetsTable({dataset}));
}

}  // namespace

int RunDatasetsList(const DatasetsFlags& flags) {
  const std::unique_ptr<Stub> stub = v1::TrainingService::NewStub(OpenChannel(flags.server));
  std::vector<v1::Dataset> datasets;
  const auto take = [&](const v1::ListDatasetsResponse& response) {
    datasets.insert(datasets.end(), response.datasets().begin(), response.datasets().end());
    return true;
  };
  const grpc::Status status =
      ReadPages(flags.server, *stub, &Stub::ListDatasets, v1::ListDatasetsRequest(), take);
  if (!status.ok()) return FailCall(flags.server, status, flags.json);
  if (flags.json) {
    PrintJson({{"datasets", ListJson(datasets, DatasetJson)}});
  } else {
    absl::PrintF("%s", DatasetsTable(datasets));
  }
  return 0;
}

int RunDatasetsUpload(const DatasetsFlags& flags) {
  const absl::StatusOr<DatasetPlan> plan = PlanDataset(flags.folder, KindOf(flags));
  if (!plan.ok()) return FailLocally(plan.status(), flags.json);
  for (const std::string& path : plan->hidden) {
    absl::FPrintF(stderr, "left out, as it is hidden: %s\n", OneLine(path));
  }
  const std::unique_ptr<Stub> stub = v1::TrainingService::NewStub(OpenChannel(flags.server));
  grpc::ClientContext context;
  SetDeadline(flags.server, context);
  v1::Dataset dataset;
  const std::unique_ptr<Writer> writer = stub->UploadDataset(&context, &dataset);
  const absl::Status sent = SendAll(*writer, flags, *plan);
  if (!sent.ok()) context.TryCancel();
  const grpc::Status status = writer->Finish();
  if (!sent.ok()) return FailLocally(sent, flags.json);
  if (!status.ok()) return FailCall(flags.server, status, flags.json);
  PrintDataset(flags, dataset);
  return 0;
}

std::string DatasetsTable(const std::vector<v1::Dataset>& datasets) {
  constexpr char kLine[] = "%-24s %-6s  %9s  %14s  %-25s  %s\n";
  std::string table =
      absl::StrFormat(kLine, "DATASET", "KIND", "PICTURES", "BYTES", "UPLOADED", "PROBLEM");
  for (const v1::Dataset& dataset : datasets) {
    absl::StrAppendFormat(&table, kLine, dataset.name(), KindText(dataset),
                          absl::StrCat(dataset.pictures()), absl::StrCat(dataset.bytes()),
                          dataset.has_create_time() ? TimeText(dataset.create_time()) : "-",
                          OrDash(OneLine(dataset.problem())));
  }
  return table;
}

json DatasetJson(const v1::Dataset& dataset) {
  return {{"name", dataset.name()},
          {"kind", KindText(dataset)},
          {"pictures", dataset.pictures()},
          {"bytes", dataset.bytes()},
          {"registered", dataset.registered()},
          {"create_time",
           dataset.has_create_time() ? json(TimeText(dataset.create_time())) : json(nullptr)},
          {"problem", OrNull(dataset.problem())}};
}

}  // namespace deweather
