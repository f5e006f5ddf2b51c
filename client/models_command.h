// `deweather models`: which models a server has, which version of each is live, and new versions.

#ifndef DEWEATHER_CLIENT_MODELS_COMMAND_H_
#define DEWEATHER_CLIENT_MODELS_COMMAND_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "client/channel.h"
#include "deweather/v1/model.pb.h"

namespace deweather {

struct ModelsFlags {
  ServerFlags server;
  std::string name;     // of the model; of import: for the one that the file holds
  std::string version;  // of delete; of promote: this, or the job that made it
  std::string job;
  std::optional<double> canary_percent;  // of promote; unset: it goes live
  std::string evaluate;  // of promote: a data set; empty: as the server is configured
  std::optional<double> max_regression_db;
  bool no_evaluate = false;
  std::string file;    // of import
  std::string origin;  // of import; empty: the file's name
  bool json = false;
};

// Each prints what the server says: tables for people, one JSON object with `json`. Exit status: 0,
// or after one line on stderr 1, or 2 for wrong usage.
int RunModelsList(const ModelsFlags& flags);
int RunModelsGet(const ModelsFlags& flags);
int RunModelsPromote(const ModelsFlags& flags);
int RunModelsRollback(const ModelsFlags& flags);
int RunModelsDelete(const ModelsFlags& flags);
int RunModelsImport(const ModelsFlags& flags);

// INVALID_ARGUMENT: flags that contradict each other, or a value out of its range.
absl::StatusOr<v1::PromoteModelRequest> PromotionOf(const ModelsFlags& flags);

// The error of a call that changes what is live. A server that was not waited for goes on with it,
// and the message says so.
absl::Status ChangeError(const ModelsFlags& flags, std::string_view change,
                         const grpc::Status& error);

// One line a model, below a line of headings.
std::string ModelsTable(const std::vector<v1::Model>& models);

// What is known of one model, then one line a version.
std::string ModelText(const v1::Model& model);

// Versions that are unset are null; what only a live model has is left out of another.
nlohmann::json ModelJson(const v1::Model& model);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_MODELS_COMMAND_H_
