#include <deweather/restore.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "tests/client_cpp/fake_services.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using grpc::Status;
using grpc::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string FileBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(BytesTest, WhateverHoldsBytes) {
  const std::string text = "abc";
  const std::vector<unsigned char> chars = {'a', 'b', 'c'};
  const std::array<std::byte, 3> bytes = {std::byte{'a'}, std::byte{'b'}, std::byte{'c'}};
  EXPECT_EQ(Bytes(text).view(), "abc");
  EXPECT_EQ(Bytes(std::string_view(text)).view(), "abc");
  EXPECT_EQ(Bytes(chars).view(), "abc");
  EXPECT_EQ(Bytes(bytes).view(), "abc");
  EXPECT_EQ(Bytes(text.data(), 2).view(), "ab");
}

class RestoreTest : public ClientTest {
 protected:
  RestoreTest() {
    restoration_.restore = [this](grpc::ServerContext& context, const v1::RestoreRequest& request,
                                  v1::RestoreResponse* response) {
      ++calls_;
      id_ = IdOf(context);
      request_ = request;
      *response = response_;
      return answer_;
    };
  }

  std::atomic<int> calls_ = 0;
  std::string id_;
  v1::RestoreRequest request_;
  v1::RestoreResponse response_;
  Status answer_;
};

TEST_F(RestoreTest, EveryOptionIsSent) {
  RestoreOptions options;
  options.model = "rain";
  options.format = Format::kPng;
  options.quality = 80;
  options.strip_metadata = true;
  options.strength = 0.5F;
  options.task = "snow";
  options.background = true;
  options.expert_map = true;
  options.uncertainty_map = true;
  options.seed = 7;
  client_->Restore(std::string("picture"), options);
  EXPECT_EQ(request_.image(), "picture");
  v1::RestoreOptions expected;
  expected.set_model("rain");
  expected.set_format(v1::RestoreOptions::FORMAT_PNG);
  expected.set_quality(80);
  expected.set_metadata_policy(v1::RestoreOptions::METADATA_POLICY_STRIP);
  expected.set_strength(0.5F);
  expected.set_task("snow");
  expected.set_priority(v1::RestoreOptions::PRIORITY_BACKGROUND);
  expected.set_expert_map(true);
  expected.set_uncertainty_map(true);
  expected.set_seed(7);
  EXPECT_EQ(request_.options().SerializeAsString(), expected.SerializeAsString());
}

TEST_F(RestoreTest, EverythingOfTheAnswerIsTold) {
  response_.set_image("restored");
  response_.set_format(v1::RestoreOptions::FORMAT_WEBP);
  response_.set_width_px(3);
  response_.set_height_px(2);
  response_.mutable_model()->set_name("rain");
  response_.mutable_model()->set_version("0123456789ab");
  v1::Routing& routing = *response_.mutable_routing();
  routing.set_unit(v1::Routing::UNIT_TOKEN);
  routing.set_units(3);
  routing.set_kept(1);
  routing.set_unit_px(8);
  routing.add_layers()->add_tokens(3);
  routing.mutable_layers(0)->add_gate(1.5);
  routing.mutable_layers(0)->set_entropy_ratio(0.25);
  response_.mutable_timings()->mutable_infer()->set_nanos(5'000'000);
  response_.mutable_timings()->set_tiles(4);
  response_.set_expert_map("map");
  const Restored restored = client_->Restore(std::string("picture"));
  EXPECT_EQ(restored.image, "restored");
  EXPECT_EQ(restored.format, Format::kWebp);
  EXPECT_EQ(restored.width_px, 3);
  EXPECT_EQ(restored.height_px, 2);
  EXPECT_EQ(restored.model.name + "/" + restored.model.version, "rain/0123456789ab");
  ASSERT_TRUE(restored.routing);
  EXPECT_FALSE(restored.routing->by_image);
  EXPECT_EQ(restored.routing->unit_px, 8);
  ASSERT_EQ(restored.routing->layers.size(), 1U);
  EXPECT_THAT(restored.routing->layers[0].tokens, ElementsAre(3));
  EXPECT_THAT(restored.routing->layers[0].gate, ElementsAre(1.5));
  EXPECT_EQ(restored.timings.infer, std::chrono::milliseconds(5));
  EXPECT_EQ(restored.timings.tiles, 4);
  EXPECT_EQ(restored.expert_map, "map");
  EXPECT_EQ(restored.request_id, id_);
  EXPECT_EQ(id_.size(), 32U);
}

TEST_F(RestoreTest, AnErrorIsWholeAndCopiesShareIt) {
  answer_ = Refusal(StatusCode::RESOURCE_EXHAUSTED, "64 tiles wait", "TILE_BUDGET", 250);
  CallOptions call;
  call.request_id = "mine";
  const Error error = ErrorOf([&] { client_->Restore(std::string("picture"), {}, call); });
  EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
  EXPECT_STREQ(error.what(), "RESOURCE_EXHAUSTED: 64 tiles wait");
  EXPECT_EQ(error.message(), "64 tiles wait");
  EXPECT_EQ(error.reason(), "TILE_BUDGET");
  EXPECT_EQ(error.retry_delay(), std::chrono::milliseconds(250));
  EXPECT_EQ(error.request_id(), "mine");
  EXPECT_EQ(id_, "mine");
}

TEST_F(RestoreTest, RetriesAreAnOption) {
  answer_ = Refusal(StatusCode::UNAVAILABLE, "going down", "DRAINING");
  ErrorOf([&] { client_->Restore(std::string("picture")); });
  EXPECT_GT(calls_, 1);
  calls_ = 0;
  options_.retries = false;
  ErrorOf([&] { Client(options_).Restore(std::string("picture")); });
  EXPECT_EQ(calls_, 1);
}

TEST_F(RestoreTest, ADeadlineIsToldInOurWords) {
  restoration_.restore = [](grpc::ServerContext& context, auto&&...) { return Hang(context); };
  CallOptions call;
  call.deadline = std::chrono::milliseconds(50);
  const Error error = ErrorOf([&] { client_->Restore(std::string("picture"), {}, call); });
  EXPECT_EQ(error.code(), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(error.message(), "not done after 50ms");
}

TEST_F(RestoreTest, AnotherThreadCancels) {
  CallOptions call;
  call.cancellation.emplace();
  restoration_.restore = [&](grpc::ServerContext& context, auto&&...) {
    call.cancellation->Cancel();
    return Hang(context);
  };
  const Error error = ErrorOf([&] { client_->Restore(std::string("picture"), {}, call); });
  EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  EXPECT_EQ(error.message(), "cancelled by the caller");
  EXPECT_TRUE(call.cancellation->cancelled());
}

TEST_F(RestoreTest, ManyThreadsShareAClient) {
  restoration_.restore = [](grpc::ServerContext&, const v1::RestoreRequest& request,
                            v1::RestoreResponse* response) {
    response->set_image(request.image());
    return Status::OK;
  };
  std::atomic<int> right = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 16; ++i) {
      threads.emplace_back([&, i] {
        for (int j = 0; j < 20; ++j) {
          const std::string picture = std::to_string(100 * i + j);
          right += client_->Restore(picture).image == picture ? 1 : 0;
        }
      });
    }
  }
  EXPECT_EQ(right, 320);
}

TEST_F(RestoreTest, TextThatNoMessageHolds) {
  RestoreOptions options;
  options.model = "ra\xffin";
  const Error error = ErrorOf([&] { client_->Restore(std::string("picture"), options); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message(), HasSubstr("'ra\\xffin' is no UTF-8"));
  EXPECT_EQ(calls_, 0);
}

TEST_F(RestoreTest, OfAFileThatIsNotThere) {
  const Error error = ErrorOf([&] { client_->RestoreFile("/nonexistent/a.jpg"); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_THAT(error.message(), HasSubstr("/nonexistent/a.jpg"));
  EXPECT_EQ(calls_, 0);
}

class RestoreLargeTest : public ClientTest {
 protected:
  RestoreLargeTest() {
    std::ofstream(input_, std::ios::binary) << picture_;
    restoration_.large = [this](grpc::ServerContext&, FakeRestoration::Large& stream) {
      v1::RestoreLargeRequest request;
      std::string image;
      while (stream.Read(&request)) image += request.chunk().data();
      v1::RestoreLargeResponse reply;
      reply.mutable_progress()->set_tiles_done(2);
      reply.mutable_progress()->set_tiles(3);
      stream.Write(reply);
      reply.mutable_summary()->set_image_bytes(static_cast<int64_t>(image.size()));
      reply.mutable_summary()->mutable_response()->set_width_px(9);
      stream.Write(reply);
      reply.mutable_chunk()->set_data(image.substr(0, image.size() / 2));
      stream.Write(reply);
      if (!broken_.ok()) return broken_;
      reply.mutable_chunk()->set_data(image.substr(image.size() / 2));
      stream.Write(reply);
      return Status::OK;
    };
  }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  const std::string folder_ = NewFolder();
  const std::string input_ = folder_ + "/in";
  const std::string output_ = folder_ + "/out";
  const std::string picture_ = std::string(700'000, 'x') + "end";
  Status broken_;
};

TEST_F(RestoreLargeTest, FromFileToFile) {
  std::vector<int> told;
  const Restored restored = client_->RestoreLarge(input_, output_, {}, [&](int done, int tiles) {
    told = {done, tiles};
  });
  EXPECT_EQ(FileBytes(output_), picture_);
  EXPECT_EQ(restored.width_px, 9);
  EXPECT_THAT(restored.image, IsEmpty());
  EXPECT_THAT(told, ElementsAre(2, 3));
  EXPECT_THAT(Files(), testing::UnorderedElementsAre("in", "out"));
}

TEST_F(RestoreLargeTest, AFailureLeavesWhatWasThere) {
  std::ofstream(output_) << "old";
  broken_ = {StatusCode::INTERNAL, "broken"};
  EXPECT_EQ(ErrorOf([&] { client_->RestoreLarge(input_, output_); }).code(), ErrorCode::kInternal);
  EXPECT_EQ(FileBytes(output_), "old");
  EXPECT_THAT(Files(), testing::UnorderedElementsAre("in", "out"));
}

TEST_F(RestoreLargeTest, WhatACallbackThrowsComesThrough) {
  const auto fail = [](int, int) { throw std::logic_error("mine"); };
  EXPECT_THROW(client_->RestoreLarge(input_, output_, {}, fail), std::logic_error);
  EXPECT_THAT(Files(), ElementsAre("in"));
  EXPECT_EQ(client_->RestoreLarge(input_, output_).width_px, 9);
}

TEST_F(RestoreLargeTest, ALinksFileIsReplacedAndNotTheLink) {
  std::ofstream(folder_ + "/far") << "old";
  std::filesystem::create_symlink("far", output_);
  client_->RestoreLarge(input_, output_);
  EXPECT_TRUE(std::filesystem::is_symlink(output_));
  EXPECT_EQ(FileBytes(folder_ + "/far"), picture_);
  std::filesystem::remove(folder_ + "/far");  // now it names nothing
  client_->RestoreLarge(input_, output_);
  EXPECT_TRUE(std::filesystem::is_symlink(output_));
  EXPECT_EQ(FileBytes(folder_ + "/far"), picture_);
  EXPECT_THAT(Files(), testing::UnorderedElementsAre("in", "out", "far"));
}

TEST_F(RestoreLargeTest, WhatIsNoFileIsNotReplaced) {
  const std::string pipe = folder_ + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  restoration_.large = nullptr;  // nobody is asked
  for (const std::string& output : {pipe, folder_}) {
    const Error error = ErrorOf([&] { client_->RestoreLarge(input_, output); });
    EXPECT_EQ(error.code(), ErrorCode::kFailedPrecondition);
    EXPECT_EQ(error.message(), output + " is no regular file");
  }
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
}

TEST_F(RestoreLargeTest, FilesThatAreNone) {
  EXPECT_EQ(ErrorOf([&] { client_->RestoreLarge(folder_ + "/no", output_); }).code(),
            ErrorCode::kNotFound);
  EXPECT_EQ(ErrorOf([&] { client_->RestoreLarge(folder_, output_); }).code(),
            ErrorCode::kFailedPrecondition);
  EXPECT_EQ(ErrorOf([&] { client_->RestoreLarge(input_, folder_ + "/no/out"); }).code(),
            ErrorCode::kNotFound);
}

}  // namespace
}  // namespace deweather
