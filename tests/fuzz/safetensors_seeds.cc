// safetensors_seeds DIR: writes small safetensors files, checkpoints without their weights among them.

#include <map>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "model/checkpoint.h"
#include "model/safetensors.h"
#include "tests/fuzz/seeds.h"
#include "tests/model/tiny.h"

namespace deweather {
namespace {

// Checkpoints whose weights are left out: what is checked first is the metadata.
void AddConfigurations(Files& files) {
  for (const ExpertKind kind : {ExpertKind::kDense, ExpertKind::kFfn, ExpertKind::kFme}) {
    const ModelConfig config = TinyConfig(kind);
    const std::string whole = SerializeCheckpoint(config, InitialParameters(config, 1), {}).value();
    const Safetensors content = ParseSafetensors(whole).value();
    files[absl::StrCat("config_", std::string(Name(kind)))] =
        SerializeSafetensors({content.metadata, {}});
    Safetensors few{content.metadata, {}};
    for (const auto& [name, view] : content.tensors) {
      if (view.bytes.size() <= 128 && few.tensors.size() < 6) few.tensors[name] = view;
    }
    files[absl::StrCat("few_", std::string(Name(kind)))] = SerializeSafetensors(few);
  }
}

Files Checkpoints() {
  Files files;
  AddConfigurations(files);
  const std::string zeros(48, '\0');
  for (const auto& [dtype, bytes] : std::map<std::string, size_t>{
           {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"BOOL", 1}}) {
    const std::string_view data(zeros.data(), 6 * bytes);
    files["dtype_" + dtype] = SerializeSafetensors({{}, {{"a", {dtype, {2, 3}, data}}}});
  }
  files["empty"] = SerializeSafetensors({{}, {{"a", {"F32", {0, 4}, {}}}, {"b", {"U8", {}, "x"}}}});
  return files;
}

}  // namespace
}  // namespace deweather

int main(int argc, char** argv) {
  return deweather::WriteSeeds(argc, argv, deweather::Checkpoints());
}
