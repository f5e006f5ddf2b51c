// What a Client does with models.

#include <utility>

#include "client/cpp/convert.h"
#include "client/cpp/link.h"
#include "deweather/client.h"

namespace deweather {

using Stub = v1::ModelService::Stub;

std::vector<Model> Client::ListModels(const CallOptions& call) const {
  std::vector<Model> models;
  v1::ListModelsRequest request;
  do {
    const v1::ListModelsResponse page =
        deweather::Call(*link_, call, *link_->models, &Stub::ListModels, request);
    for (const v1::Model& model : page.models()) models.push_back(ToModel(model));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return models;
}

Model Client::GetModel(const std::string& name, const CallOptions& call) const {
  CheckText("name", name);
  v1::GetModelRequest request;
  request.set_name(name);
  return ToModel(deweather::Call(*link_, call, *link_->models, &Stub::GetModel, request));
}

Model Client::Promote(const Promotion& promotion, const CallOptions& call) const {
  if (!promotion.version.empty() && !promotion.job.empty()) {
    Throw(absl::InvalidArgumentError("Promotion has a version and a job; only one can go live"));
  }
  return ToModel(
      deweather::Call(*link_, call, *link_->models, &Stub::PromoteModel, ToMessage(promotion)));
}

Model Client::Rollback(const std::string& name, const CallOptions& call) const {
  CheckText("name", name);
  v1::RollbackModelRequest request;
  request.set_name(name);
  return ToModel(deweather::Call(*link_, call, *link_->models, &Stub::RollbackModel, request));
}

}  // namespace deweather
