#include "tests/restore/stored_models.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/stack.h>

#include <limits>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "model/base/file.h"
#include "model/checkpoint.h"
#include "model/import.h"
#include "model/safetensors.h"
#include "model/version_store.h"

namespace deweather {
namespace {

Imported Import(const std::string& name, const std::string& fixture) {
  const std::string file =
      ReadFile(DW_SOURCE_DIR "/tests/model/fixtures/" + fixture + ".safetensors").value();
  Imported imported = ImportAuthors(ParseSafetensors(file).value()).value();
  imported.config.name = name;
  imported.config.tile_px = 32;
  imported.config.overlap_px = 8;
  return imported;
}

std::string ToFile(const Imported& imported) {
  return SerializeCheckpoint(imported.config, imported.parameters, {}).value();
}

std::string Store(const std::string& models, const Imported& imported) {
  return AddVersion(models, imported.config.name, ToFile(imported), "a test", absl::Now())
      .value()
      .manifest.version;
}

}  // namespace

std::string StoreFixture(const std::string& models, const std::string& name,
                         const std::string& fixture) {
  return Store(models, Import(name, fixture));
}

std::string StoreGatedModel(const std::string& models, const std::string& name,
                            const std::vector<std::string>& tasks) {
  Imported imported = Import(name, "fme");
  imported.config.tasks = tasks;
  for (auto& [parameter, tensor] : imported.parameters) {
    if (!absl::StrContains(parameter, ".router.")) continue;
    tensor = at::stack(std::vector<at::Tensor>(tasks.size(), tensor));
  }
  return Store(models, imported);
}

std::string StoreNanModel(const std::string& models, const std::string& name) {
  Imported imported = Import(name, "fme");
  for (auto& [parameter, tensor] : imported.parameters) {
    if (!absl::StartsWith(parameter, "tail.")) continue;
    tensor = tensor.sign().mul(3e38);  // sums of both signs: infinite minus infinite
  }
  return Store(models, imported);
}

std::string StoreInfiniteModel(const std::string& models, const std::string& name) {
  Imported imported = Import(name, "fme");
  imported.parameters.at("tail.conv1.weight").view({-1})[7] =
      std::numeric_limits<float>::infinity();
  return Store(models, imported);
}

std::string WriteFixture(const std::string& path, const std::string& name,
                         const std::string& fixture) {
  const std::string file = ToFile(Import(name, fixture));
  if (!WriteFileAtomically(path, file).ok()) return "";
  return ParseCheckpoint(file).value().version;
}

}  // namespace deweather
