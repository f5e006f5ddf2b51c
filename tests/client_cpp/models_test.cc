#include <deweather/models.h>

#include "tests/client_cpp/fake_services.h"

namespace deweather {
namespace {

using grpc::Status;
using testing::ElementsAre;
using testing::HasSubstr;

class ModelsTest : public ClientTest {};

TEST_F(ModelsTest, AllPagesAreListed) {
  models_.list = [](const v1::ListModelsRequest& request, v1::ListModelsResponse* response) {
    const bool first = request.page_token().empty();
    response->add_models()->set_name(first ? "a" : "b");
    if (first) response->set_next_page_token("more");
    return Status::OK;
  };
  const std::vector<Model> models = client_->ListModels();
  ASSERT_EQ(models.size(), 2U);
  EXPECT_EQ(models[0].name + models[1].name, "ab");
}

TEST_F(ModelsTest, EverythingOfAModelIsTold) {
  models_.list = [](const v1::ListModelsRequest&, v1::ListModelsResponse* response) {
    v1::Model& model = *response->add_models();
    model.set_live_version("0123456789ab");
    model.set_canary_percent(12.5);
    model.mutable_live_time()->set_seconds(1'700'000'000);
    model.set_tile_px(256);
    model.add_tasks("rain");
    v1::Model::Version& version = *model.add_versions();
    version.set_version("ba9876543210");
    version.mutable_create_time()->set_seconds(1'600'000'000);
    version.set_bytes(7);
    return Status::OK;
  };
  const Model model = client_->ListModels().at(0);
  EXPECT_EQ(model.live_version, "0123456789ab");
  EXPECT_EQ(model.canary_percent, 12.5);
  EXPECT_EQ(std::chrono::system_clock::to_time_t(*model.live_time), 1'700'000'000);
  EXPECT_EQ(model.tile_px, 256);
  EXPECT_THAT(model.tasks, ElementsAre("rain"));
  ASSERT_EQ(model.versions.size(), 1U);
  EXPECT_EQ(model.versions[0].version, "ba9876543210");
  EXPECT_EQ(std::chrono::system_clock::to_time_t(model.versions[0].create_time), 1'600'000'000);
  EXPECT_EQ(model.versions[0].bytes, 7);
}

TEST_F(ModelsTest, APromotionIsSentAsItIs) {
  v1::PromoteModelRequest seen;
  models_.promote = [&](const v1::PromoteModelRequest& request, v1::Model* model) {
    seen = request;
    model->set_name("rain");
    return Status::OK;
  };
  Promotion promotion;
  promotion.name = "rain";
  promotion.version = "0123456789ab";
  promotion.canary_percent = 5;
  promotion.evaluate = "rain-pairs";
  promotion.max_regression_db = 0.25;
  EXPECT_EQ(client_->Promote(promotion).name, "rain");
  EXPECT_EQ(seen.version(), "0123456789ab");
  EXPECT_EQ(seen.canary_percent(), 5);
  EXPECT_EQ(seen.evaluation().dataset(), "rain-pairs");
  EXPECT_EQ(seen.evaluation().max_regression_db(), 0.25);
  Promotion of_a_job;
  of_a_job.job = "abcdefghijkl";
  client_->Promote(of_a_job);
  EXPECT_EQ(seen.job(), "abcdefghijkl");
  EXPECT_FALSE(seen.has_evaluation());
  promotion.job = "abcdefghijkl";
  EXPECT_THAT(ErrorOf([&] { client_->Promote(promotion); }).message(),
              HasSubstr("a version and a job"));
}

}  // namespace
}  // namespace deweather
