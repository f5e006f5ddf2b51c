#include "server/http/inference_documents.h"

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace deweather {
namespace {

using json = nlohmann::ordered_json;

std::string TextOf(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

template <typename Tensors>
json TensorsOf(const Tensors& tensors) {
  json list = json::array();
  for (const auto& tensor : tensors) {
    list.push_back(
        {{"name", tensor.name()}, {"datatype", tensor.datatype()}, {"shape", tensor.shape()}});
  }
  return list;
}

template <typename Tensor>
json ConfigOf(const Tensor& tensor) {
  return {{"name", tensor.name()},
          {"data_type", inference::DataType_Name(tensor.data_type())},
          {"dims", tensor.dims()}};
}

}  // namespace

std::string DocumentOf(const inference::ServerLiveResponse& server) {
  return TextOf(json::object({{"live", server.live()}}));
}

std::string DocumentOf(const inference::ServerReadyResponse& server) {
  return TextOf(json::object({{"ready", server.ready()}}));
}

std::string DocumentOf(const inference::ServerMetadataResponse& server) {
  json extensions = server.extensions();
  extensions.push_back("binary_tensor_data");
  return TextOf({{"name", server.name()},
                 {"version", server.version()},
                 {"extensions", std::move(extensions)}});
}

std::string DocumentOf(const std::string& name, const inference::ModelReadyResponse& model) {
  return TextOf({{"name", name}, {"ready", model.ready()}});
}

std::string DocumentOf(const inference::ModelMetadataResponse& model) {
  const std::map<std::string, std::string> properties(model.properties().begin(),
                                                      model.properties().end());
  return TextOf({{"name", model.name()},
                 {"versions", model.versions()},
                 {"platform", model.platform()},
                 {"inputs", TensorsOf(model.inputs())},
                 {"outputs", TensorsOf(model.outputs())},
                 {"properties", properties}});
}

std::string DocumentOf(const inference::ModelConfigResponse& model) {
  const inference::ModelConfig& config = model.config();
  json inputs = json::array();
  for (const inference::ModelInput& input : config.input()) {
    inputs.push_back(ConfigOf(input));
    inputs.back()["optional"] = input.optional();
  }
  json outputs = json::array();
  for (const inference::ModelOutput& output : config.output()) {
    outputs.push_back(ConfigOf(output));
  }
  return TextOf({{"name", config.name()},
                 {"platform", config.platform()},
                 {"backend", config.backend()},
                 {"max_batch_size", config.max_batch_size()},
                 {"input", std::move(inputs)},
                 {"output", std::move(outputs)}});
}

std::string DocumentOf(const inference::RepositoryIndexResponse& index) {
  json models = json::array();
  for (const auto& model : index.models()) {
    models.push_back({{"name", model.name()},
                      {"version", model.version()},
                      {"state", model.state()},
                      {"reason", model.reason()}});
  }
  return TextOf(models);
}

std::string ErrorDocument(std::string_view message) {
  return TextOf(json::object({{"error", message}}));
}

}  // namespace deweather
