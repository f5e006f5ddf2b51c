#include "server/restore/import_model.h"

#include <string_view>
#include <utility>

#include "model/base/error_reason.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/import.h"
#include "model/torch_errors.h"
#include "model/version_store.h"

namespace deweather {
namespace {

// What is torn here came so: nothing of ours was lost.
absl::Status Invalid(const absl::Status& status) {
  if (!absl::IsInvalidArgument(status) && !absl::IsDataLoss(status)) return status;
  return WithReason(absl::InvalidArgumentError(status.message()), "INVALID_CHECKPOINT");
}

struct Checked {
  CheckpointFile file;
  std::string name;
};

absl::StatusOr<Checked> Check(std::string file, const std::string& name) {
  Checked checked;
  DW_ASSIGN_OR_RETURN(checked.file, ToCheckpoint(std::move(file), name));
  DW_ASSIGN_OR_RETURN(const Checkpoint checkpoint, ParseCheckpoint(checked.file.bytes));
  checked.name = checkpoint.config.name;
  DW_RETURN_IF_ERROR(ValidateName("the checkpoint's name", checked.name));
  return checked;
}

}  // namespace

absl::StatusOr<ImportedVersion> ImportModel(const std::string& models, std::string file,
                                            const std::string& name, const std::string& source,
                                            absl::Time now) {
  const auto checked =
      CatchTorch("cannot read the checkpoint", [&] { return Check(std::move(file), name); });
  if (!checked.ok()) return Invalid(checked.status());
  const auto added = AddVersion(models, checked->name, checked->file.bytes, source, now);
  if (!added.ok()) return added.status();
  return ImportedVersion{checked->name, added->manifest.version, added->added,
                         checked->file.unused};
}

}  // namespace deweather
