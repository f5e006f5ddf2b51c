// The Open Inference Protocol over the real pipeline.

#include <gmock/gmock.h>

#include <cstring>
#include <future>
#include <thread>

#include "inference/grpc_service.grpc.pb.h"
#include "model/image/codec.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/inference_tensors.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Request = inference::ModelInferRequest;
using Response = inference::ModelInferResponse;

PictureTensor TensorOf(SampleType type, TensorLayout layout, int64_t count, const Image& image) {
  return {
      .type = type, .layout = layout, .count = count, .width = image.width, .height = image.height};
}

// Its samples in the depth that a tensor of that type has.
Image InDepthOf(SampleType type, const Image& image) {
  if (type == SampleType::kUint8) return image;
  Image deep = image;
  deep.bytes_per_sample = 2;
  deep.samples.clear();
  for (const uint8_t sample : image.samples) deep.samples.insert(deep.samples.end(), 2, sample);
  return deep;
}

// A tensor with these pictures, of one size, raw.
Request RequestOf(const std::vector<Image>& pictures, SampleType type = SampleType::kUint8,
                  TensorLayout layout = TensorLayout::kNchw) {
  const PictureTensor tensor =
      TensorOf(type, layout, static_cast<int64_t>(pictures.size()), pictures.front());
  Request request;
  request.set_model_name("default");
  Request::InferInputTensor& input = *request.add_inputs();
  input.set_name("image");
  input.set_datatype(std::string(DatatypeOf(type)));
  const bool planes = layout == TensorLayout::kNchw;
  for (const int64_t side :
       planes ? std::vector<int64_t>{tensor.count, 3, tensor.height, tensor.width}
              : std::vector<int64_t>{tensor.count, tensor.height, tensor.width, 3}) {
    input.add_shape(side);
  }
  if (!planes) (*request.mutable_parameters())["layout"].set_string_param("NHWC");
  std::string& raw = *request.add_raw_input_contents();
  for (const Image& picture : pictures) raw += FromImage(tensor, InDepthOf(type, picture));
  return request;
}

Request RequestOfFiles(const std::vector<std::string>& files) {
  Request request;
  Request::InferInputTensor& input = *request.add_inputs();
  input.set_name("image_bytes");
  input.set_datatype("BYTES");
  input.add_shape(static_cast<int64_t>(files.size()));
  std::string& raw = *request.add_raw_input_contents();
  for (const std::string& file : files) AppendElement(file, raw);
  return request;
}

std::vector<float> FloatsOf(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<int64_t> ShapeOf(const Response::InferOutputTensor& output) {
  return {output.shape().begin(), output.shape().end()};
}

class InferenceTest : public RpcTest {
 protected:
  grpc::Status Infer(const Request& request, Response* response = nullptr) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
    Response ignored;
    return Stub()->ModelInfer(&context, request, response != nullptr ? response : &ignored);
  }

  // A method of one short message each way.
  template <typename Method, typename Request, typename Response>
  grpc::Status Ask(Method method, const Request& request, Response* response) {
    grpc::ClientContext context;
    return (Stub().get()->*method)(&context, request, response);
  }

  std::unique_ptr<inference::GRPCInferenceService::Stub> Stub() const {
    return inference::GRPCInferenceService::NewStub(channel_);
  }

  bool Ready(const std::string& model, const std::string& version = "") {
    inference::ModelReadyRequest request;
    request.set_name(model);
    request.set_version(version);
    inference::ModelReadyResponse response;
    EXPECT_TRUE(Ask(&inference::GRPCInferenceService::Stub::ModelReady, request, &response).ok());
    return response.ready();
  }

  void ExpectInvalid(const Request& request, const std::string& reason, const std::string& says) {
    const grpc::Status status = Infer(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << says;
    EXPECT_EQ(ReasonOf(status), reason) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(says));
  }

  std::vector<NamedService> MoreServices(const LimitOptions& limits) override {
    inference_ =
        std::make_unique<InferenceService>("1.2.3", models_, *pipeline_, calls_, limits, entrance_);
    return {{inference::GRPCInferenceService::service_full_name(), inference_.get()}};
  }

  std::unique_ptr<InferenceService> inference_;
};

TEST_F(InferenceTest, EveryDatatypeAndLayoutComesBack) {
  Serve();
  const std::vector<Image> pictures = {NoiseImage(70, 50), NoiseImage(70, 50)};
  for (const SampleType type :
       {SampleType::kUint8, SampleType::kFp16, SampleType::kBf16, SampleType::kFp32}) {
    for (const TensorLayout layout : {TensorLayout::kNchw, TensorLayout::kNhwc}) {
      const Request request = RequestOf(pictures, type, layout);
      Response response;
      const grpc::Status status = Infer(request, &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
      ASSERT_EQ(response.outputs_size(), 1);
      EXPECT_EQ(response.outputs(0).name(), "restored");
      EXPECT_EQ(response.outputs(0).datatype(), request.inputs(0).datatype());
      EXPECT_THAT(ShapeOf(response.outputs(0)),
                  testing::ElementsAreArray(request.inputs(0).shape()));
      EXPECT_FALSE(response.outputs(0).has_contents());
      EXPECT_EQ(response.raw_output_contents(0), request.raw_input_contents(0));
    }
  }
}

TEST_F(InferenceTest, SaysWhatRestored) {
  Serve();
  Request request = RequestOf({NoiseImage(32, 32)});
  request.set_id("seven");
  Response response;
  ASSERT_TRUE(Infer(request, &response).ok());
  EXPECT_EQ(response.model_name(), "identity");
  EXPECT_EQ(response.model_version(), "builtin");
  EXPECT_EQ(response.id(), "seven");
  request.set_model_version("builtin");
  EXPECT_TRUE(Infer(request, &response).ok());
}

TEST_F(InferenceTest, TypedContentsAreTheSame) {
  Serve();
  const Image picture = NoiseImage(20, 10);
  for (const SampleType type : {SampleType::kUint8, SampleType::kFp32}) {
    Request request = RequestOf({picture}, type);
    const std::string raw = request.raw_input_contents(0);
    request.clear_raw_input_contents();
    inference::InferTensorContents& contents = *request.mutable_inputs(0)->mutable_contents();
    if (type == SampleType::kUint8) {
      for (const char value : raw) contents.add_uint_contents(static_cast<uint8_t>(value));
    } else {
      for (const float value : FloatsOf(raw)) contents.add_fp32_contents(value);
    }
    Response response;
    const grpc::Status status = Infer(request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.raw_output_contents(0), raw);
  }
}

TEST_F(InferenceTest, FilesRawAndTyped) {
  Serve();
  const std::vector<Image> pictures = {NoiseImage(64, 40), NoiseImage(30, 50)};
  const std::vector<std::string> files = {Png(pictures[0]), Png(pictures[1])};
  Request typed = RequestOfFiles(files);
  typed.clear_raw_input_contents();
  for (const std::string& file : files) {
    typed.mutable_inputs(0)->mutable_contents()->add_bytes_contents(file);
  }
  for (const Request& request : {RequestOfFiles(files), typed}) {
    Response response;
    const grpc::Status status = Infer(request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.outputs(0).datatype(), "BYTES");
    EXPECT_THAT(ShapeOf(response.outputs(0)), ElementsAre(2));
    const auto restored = SplitElements(response.raw_output_contents(0), 2).value();
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(DecodeImage(restored[i], {}).value().samples, pictures[i].samples);
    }
  }
}

// As the dims of ModelConfig have it.
TEST_F(InferenceTest, AColumnOfFilesComesBackAsOne) {
  Serve();
  Request request = RequestOfFiles({Png(NoiseImage(8, 4)), Png(NoiseImage(5, 5))});
  request.mutable_inputs(0)->add_shape(1);
  Response response;
  ASSERT_TRUE(Infer(request, &response).ok());
  EXPECT_THAT(ShapeOf(response.outputs(0)), ElementsAre(2, 1));
}

TEST_F(InferenceTest, EqualsRestore) {
  const FakeModel fake = {.gain = 0.6f};
  Serve({}, &fake);
  const Image picture = NoiseImage(90, 70);
  v1::RestoreResponse restored;
  ASSERT_TRUE(Restore(Png(picture), {}, &restored).ok());
  const Image expected = DecodeImage(restored.image(), {}).value();
  Response response;
  ASSERT_TRUE(Infer(RequestOf({picture}), &response).ok());
  const PictureTensor bytes = TensorOf(SampleType::kUint8, TensorLayout::kNchw, 1, picture);
  EXPECT_EQ(ToImage(bytes, 0, response.raw_output_contents(0)).value().samples, expected.samples);
  ASSERT_TRUE(Infer(RequestOf({picture}, SampleType::kFp32), &response).ok());
  const PictureTensor floats = TensorOf(SampleType::kFp32, TensorLayout::kNchw, 1, picture);
  const std::string wanted = FromImage(floats, InDepthOf(SampleType::kFp32, expected));
  EXPECT_THAT(FloatsOf(response.raw_output_contents(0)),
              testing::Pointwise(testing::FloatNear(0.5f / 255 + 1e-4f), FloatsOf(wanted)));
}

TEST_F(InferenceTest, ParametersAreHeeded) {
  std::vector<int> seen;
  const FakeModel fake = {.tasks = {"rain", "snow"},
                          .gain = 0,
                          .on_options = [&](const std::vector<int>& tasks, bool /*uncertainty*/) {
                            seen.insert(seen.end(), tasks.begin(), tasks.end());
                          }};
  Serve({}, &fake);
  Image picture = NoiseImage(32, 32);
  std::fill(picture.samples.begin(), picture.samples.end(), uint8_t{200});
  Request request = RequestOf({picture});
  auto& parameters = *request.mutable_parameters();
  parameters["task"].set_string_param("snow");
  parameters["strength"].set_double_param(0.25);
  parameters["seed"].set_int64_param(3);
  parameters["priority"].set_uint64_param(2);
  parameters["timeout"].set_int64_param(60'000'000);
  Response response;
  const grpc::Status status = Infer(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(static_cast<uint8_t>(response.raw_output_contents(0)[0]), 150);
  EXPECT_THAT(seen, ElementsAre(1));
  const auto background = metrics_.restore_seconds(Priority::kBackground).Collect();
  EXPECT_EQ(background.histogram.sample_count, 1U);
}

TEST_F(InferenceTest, RoutingAndUncertaintyOnRequest) {
  const FakeModel fake = {.layers = 2, .experts = 5, .kept = 2};
  Serve({}, &fake);
  const Image picture = NoiseImage(40, 32);
  Request request = RequestOf({picture, picture});
  for (const char* name : {"uncertainty", "restored", "routing"}) {
    request.add_outputs()->set_name(name);
  }
  (*request.mutable_parameters())["seed"].set_uint64_param(9);
  Response response;
  const grpc::Status status = Infer(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.outputs_size(), 3);
  EXPECT_EQ(response.outputs(1).name(), "restored");
  EXPECT_EQ(response.outputs(2).datatype(), "FP32");
  EXPECT_THAT(ShapeOf(response.outputs(2)), ElementsAre(2, 2, 5));
  const std::vector<float> routing = FloatsOf(response.raw_output_contents(2));
  ASSERT_EQ(routing.size(), 20U);
  for (size_t layer = 0; layer < 4; ++layer) {
    EXPECT_NEAR(std::accumulate(&routing[layer * 5], &routing[layer * 5] + 5, 0.0), 1, 1e-6);
  }
  EXPECT_THAT(ShapeOf(response.outputs(0)), ElementsAre(2, 1, 4, 5));
  v1::RestoreOptions options;
  options.set_uncertainty_map(true);
  options.set_seed(9);
  v1::RestoreResponse restored;
  ASSERT_TRUE(Restore(Png(picture), options, &restored).ok());
  const Image map = DecodeImage(restored.uncertainty_map(), {}).value();
  const auto* const samples = reinterpret_cast<const uint16_t*>(map.samples.data());
  const std::vector<float> values = FloatsOf(response.raw_output_contents(0));
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(values[i], static_cast<float>(samples[i % 20]) / 65535.0f);
  }
}

TEST_F(InferenceTest, RoutingOfAModelThatRoutesNothing) {
  Serve();
  for (const char* name : {"routing", "uncertainty"}) {
    Request request = RequestOf({NoiseImage(32, 32)});
    request.add_outputs()->set_name(name);
    const grpc::Status status = Infer(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_EQ(ReasonOf(status), "NOT_ROUTED");
  }
}

// Each is told apart, and none reaches the model.
class BadInferenceTest : public InferenceTest {
 protected:
  using Change = std::function<void(Request&)>;

  void SetUp() override { Serve({}, &fake_); }

  void ExpectBad(const Change& change, const std::string& says,
                 const std::string& reason = "INVALID_TENSOR") {
    Request request = RequestOf({NoiseImage(8, 4)});
    change(request);
    ExpectInvalid(request, reason, says);
    EXPECT_EQ(Requests(absl::StatusCode::kInvalidArgument), ++bad_);
    EXPECT_EQ(runs_, 0);
  }
  void ExpectBadParameter(const Change& change, const std::string& says) {
    ExpectBad(change, says, "INVALID_PARAMETER");
  }

  std::atomic<int> runs_ = 0;
  int bad_ = 0;
  const FakeModel fake_ = {.on_run = [this](int) { ++runs_; }};
};

TEST_F(BadInferenceTest, Inputs) {
  ExpectBad([](Request& r) { r.clear_inputs(); }, "0 inputs have come");
  ExpectBad([](Request& r) { *r.add_inputs() = r.inputs(0); }, "2 inputs have come");
  ExpectBad([](Request& r) { r.mutable_inputs(0)->set_name("input"); }, "unknown input 'input'");
  const Change shares = [](Request& r) {
    (*r.mutable_inputs(0)->mutable_parameters())["shared_memory_region"].set_string_param("a");
  };
  ExpectBadParameter(shares, "unknown parameter 'shared_memory_region' of image");
}

TEST_F(BadInferenceTest, DatatypesAndShapes) {
  ExpectBad([](Request& r) { r.mutable_inputs(0)->set_datatype("INT8"); }, "is 'INT8'");
  ExpectBad([](Request& r) { r.mutable_inputs(0)->set_datatype("FP32"); },
            "has 96 bytes; shape [1,3,4,8] of FP32 takes 384");
  ExpectBad([](Request& r) { r.mutable_inputs(0)->set_shape(3, 9); },
            "has 96 bytes; shape [1,3,4,9] of UINT8 takes 108");
  ExpectBad([](Request& r) { r.mutable_inputs(0)->add_shape(1); }, "it must be [N,3,H,W]");
  ExpectBad([](Request& r) { r.mutable_inputs(0)->set_shape(1, 4); }, "3 channels");
  ExpectBad([](Request& r) { (*r.mutable_parameters())["layout"].set_string_param("NHWC"); },
            "read as [N,H,W,3]");
  ExpectBad([](Request& r) { r.mutable_inputs(0)->set_shape(2, int64_t{1} << 40); },
            "a side must be");
  ExpectBad([](Request& r) { r.mutable_inputs(0)->set_shape(2, int64_t{1} << 30); },
            "the limit of 200000000", "PIXEL_LIMIT");
}

TEST_F(BadInferenceTest, Contents) {
  ExpectBad([](Request& r) { r.clear_raw_input_contents(); }, "image has no contents");
  ExpectBad([](Request& r) { r.add_raw_input_contents("x"); }, "has 2 elements, for 1 input");
  ExpectBad([](Request& r) { r.mutable_raw_input_contents(0)->push_back('x'); }, "has 97 bytes");
  ExpectBad([](Request& r) { r.mutable_inputs(0)->mutable_contents()->add_uint_contents(1); },
            "both raw and typed");
}

TEST_F(BadInferenceTest, TypedContents) {
  const auto typed = [](const std::function<void(Request::InferInputTensor&)>& fill) {
    return [=](Request& r) {
      r.clear_raw_input_contents();
      fill(*r.mutable_inputs(0));
    };
  };
  using Input = Request::InferInputTensor;
  ExpectBad(typed([](Input& input) { input.mutable_contents()->add_int_contents(1); }),
            "in int_contents; UINT8 has them in uint_contents");
  ExpectBad(typed([](Input& input) { input.mutable_contents()->add_uint_contents(1); }),
            "has 1 values; shape [1,3,4,8] of UINT8 takes 96");
  const auto floats = [](Input& input) {
    input.set_datatype("BF16");
    input.mutable_contents()->add_fp32_contents(1);
  };
  ExpectBad(typed(floats), "in fp32_contents; BF16 has them in raw_input_contents");
  const auto large = [](Input& input) {
    auto& values = *input.mutable_contents()->mutable_uint_contents();
    values.Resize(96, 255);
    values.Set(17, 256);
  };
  ExpectBad(typed(large), "value 17 of image is 256");
}

TEST_F(BadInferenceTest, Values) {
  Request request = RequestOf({NoiseImage(8, 4)}, SampleType::kFp32);
  const float bad = 1.5f;
  std::memcpy(request.mutable_raw_input_contents(0)->data() + 9 * sizeof(bad), &bad, sizeof(bad));
  ExpectInvalid(request, "INVALID_TENSOR", "image[0,0,1,1] is 1.5; it must be in [0,1]");
  const float almost = 1.0000001f;
  std::memcpy(request.mutable_raw_input_contents(0)->data() + 9 * sizeof(bad), &almost,
              sizeof(bad));
  ExpectInvalid(request, "INVALID_TENSOR", "image[0,0,1,1] is 1.0000001; it must be in [0,1]");
  EXPECT_EQ(runs_, 0);
}

TEST_F(BadInferenceTest, Outputs) {
  ExpectBad([](Request& r) { r.add_outputs()->set_name("output"); }, "unknown output 'output'");
  const Change twice = [](Request& r) {
    for (int i = 0; i < 2; ++i) r.add_outputs()->set_name("restored");
  };
  ExpectBad(twice, "'restored' is asked for twice");
  const Change classifies = [](Request& r) {
    r.add_outputs()->set_name("restored");
    (*r.mutable_outputs(0)->mutable_parameters())["classification"].set_int64_param(1);
  };
  ExpectBadParameter(classifies, "unknown parameter 'classification' of restored");
}

TEST_F(BadInferenceTest, Parameters) {
  const auto with = [](const char* name,
                       const std::function<void(inference::InferParameter&)>& set) {
    return [=](Request& r) { set((*r.mutable_parameters())[name]); };
  };
  const auto number = [](int64_t value) {
    return [=](inference::InferParameter& p) { p.set_int64_param(value); };
  };
  const auto text = [](const char* value) {
    return [=](inference::InferParameter& p) { p.set_string_param(value); };
  };
  ExpectBadParameter(with("stength", number(1)), "unknown parameter 'stength'; known: layout,");
  ExpectBadParameter(with("priority", number(3)), "priority is 3; it must be 1 or normal");
  ExpectBadParameter(with("priority", number(-1)), "priority is -1");
  ExpectBadParameter(with("priority", text("high")), "priority is 'high'");
  ExpectBadParameter(with("timeout", text("1s")), "timeout is no whole number");
  ExpectBadParameter(with("timeout", number(-5)), "timeout is -5; it must be 0 or more");
  ExpectBadParameter(with("layout", text("CHW")), "layout is 'CHW'");
  ExpectBadParameter(with("layout", number(1)), "layout is no string");
  ExpectBadParameter(with("strength", text("1")), "strength is no number");
  const auto fraction = [](double value) {
    return [=](inference::InferParameter& p) { p.set_double_param(value); };
  };
  ExpectBadParameter(with("strength", fraction(1.0000001)),
                     "strength is 1.0000001; it must be in 0..1");
  ExpectBadParameter(with("strength", fraction(1e300)), "strength is 1e+300");
  ExpectBadParameter(with("timeout", fraction(5e6)), "timeout is 5e+06, written as a fraction");
  ExpectBadParameter(with("seed", number(-1)), "seed is -1");
  ExpectBadParameter(with("task", number(1)), "task is no string");
  ExpectBadParameter(with("strength", number(2)), "strength is 2; it must be in 0..1");
  ExpectBad(with("task", text("fog")), "has no gate per task", "UNSUPPORTED_OPTION");
}

TEST_F(BadInferenceTest, Files) {
  const auto files = [](std::vector<std::string> all, const Change& change = nullptr) {
    return [=](Request& r) {
      r = RequestOfFiles(all);
      if (change) change(r);
    };
  };
  ExpectBad(files({"x"}, [](Request& r) { r.mutable_inputs(0)->set_datatype("UINT8"); }),
            "datatype of image_bytes is 'UINT8'; it must be BYTES");
  ExpectBad(files({"x"}, [](Request& r) { r.mutable_inputs(0)->set_shape(0, 2); }),
            "its shape says 2 elements");
  ExpectBad(files(std::vector<std::string>(65, "x")), "shape of image_bytes is [65]");
  ExpectBad(files({"x"}, [](Request& r) { r.mutable_inputs(0)->add_shape(2); }), "is [1,2]");
  ExpectBad(files({"x", "y"}, [](Request& r) { r.add_outputs()->set_name("uncertainty"); }),
            "uncertainty is asked for 2 files");
  ExpectBad(files({"no picture"}), "", "INVALID_IMAGE");
  ExpectBad(files({Png(NoiseImage(8, 4)), "no picture"}), "image_bytes[1]: not an image: 10 bytes",
            "INVALID_IMAGE");
  const Change layout = [](Request& r) {
    (*r.mutable_parameters())["layout"].set_string_param("NHWC");
  };
  const std::string says = "layout is given with image_bytes";
  ExpectBad(files({"x"}, layout), says, "INVALID_PARAMETER");
}

TEST_F(BadInferenceTest, ModelsAndVersions) {
  Request request = RequestOf({NoiseImage(8, 4)});
  request.set_model_name("nobody");
  grpc::Status status = Infer(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonOf(status), "UNKNOWN_MODEL");
  request.set_model_name("fake");
  request.set_model_version("2");
  status = Infer(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonOf(status), "UNKNOWN_VERSION");
  EXPECT_THAT(status.error_message(),
              HasSubstr("version '2' of model 'fake' is not live; live: 1"));
  EXPECT_EQ(Requests(absl::StatusCode::kNotFound), 2);
  request.set_model_name(std::string(65, 'm'));
  ExpectInvalid(request, "INVALID_OPTION", "65 bytes long");
}

TEST_F(InferenceTest, AnExpiredTimeoutEndsItUnrun) {
  std::atomic<int> runs = 0;
  const FakeModel fake = {.on_run = [&](int) { ++runs; }};
  Serve({}, &fake);
  Request request = RequestOf({NoiseImage(300, 200)});
  (*request.mutable_parameters())["timeout"].set_int64_param(1);
  EXPECT_EQ(Infer(request).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(runs, 0);
  ExpectNothingLeft();
}

TEST_F(InferenceTest, TheFirstFailureEndsTheOthers) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  Request request = RequestOf({NoiseImage(32, 32), NoiseImage(32, 32)}, SampleType::kFp32);
  const float bad = -1;
  std::string& raw = *request.mutable_raw_input_contents(0);
  std::memcpy(raw.data() + raw.size() / 2, &bad, sizeof(bad));
  ExpectInvalid(request, "INVALID_TENSOR", "image[1,0,0,0] is -1");  // whatever holds the model
  gate.Open();
  ExpectNothingLeft();
}

TEST_F(InferenceTest, ACallerThatLeavesEndsAll) {
  ModelGate gate;
  const FakeModel fake = {.on_run = gate.OnRun()};
  Serve({}, &fake);
  grpc::ClientContext context;
  Response response;
  const Request request = RequestOf({NoiseImage(64, 32), NoiseImage(64, 32)});
  auto call = std::async(std::launch::async, [&] {
    return Stub()->ModelInfer(&context, request, &response).error_code();
  });
  gate.AwaitModel();
  context.TryCancel();
  EXPECT_EQ(call.get(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(HappensSoon([&] { return calls_.count() == 0; }));
  gate.Open();
  ExpectNothingLeft();
}

TEST_F(InferenceTest, OversizeReplyIsRefusedBeforeAnyWork) {
  std::atomic<int> runs = 0;
  const FakeModel fake = {.on_run = [&](int) { ++runs; }};
  LimitOptions limits;
  limits.max_send_bytes = 9'000;
  Serve(limits, &fake);
  const grpc::Status status =
      Infer(RequestOf({NoiseImage(32, 32), NoiseImage(32, 32), NoiseImage(32, 32)}));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(status), "REPLY_SIZE");
  EXPECT_EQ(runs, 0);
  EXPECT_TRUE(Infer(RequestOf({NoiseImage(32, 32), NoiseImage(32, 32)})).ok());
}

// To try again would never help, so it is no RESOURCE_EXHAUSTED, and no picture is begun.
TEST_F(InferenceTest, PicturesThatNeverFitTogetherAreRefusedForGood) {
  std::atomic<int> runs = 0;
  const FakeModel fake = {.on_run = [&](int) { ++runs; }};
  constexpr int64_t kFor2 = 40'000;  // pictures of 32x32, by the estimate
  Serve(
      {}, &fake,
      {.workers = 2, .max_batch = 4, .admission = {.max_bytes = kFor2, .max_caller_percent = 100}});
  const std::vector<Image> three(3, NoiseImage(32, 32));
  const std::vector<std::string> files(3, Png(three[0]));
  for (const Request& request : {RequestOf(three), RequestOfFiles(files)}) {
    ExpectInvalid(request, "INVALID_TENSOR", "3 pictures are too many for one request");
    ExpectInvalid(request, "INVALID_TENSOR", "bytes together; a caller may hold 40000");
  }
  EXPECT_EQ(runs, 0);
  EXPECT_TRUE(Infer(RequestOf({three[0]})).ok());
  ExpectNothingLeft();
}

TEST_F(InferenceTest, ADrainingServerRefuses) {
  Serve();
  EXPECT_TRUE(Ready("default"));
  inference_->EndReady();
  EXPECT_FALSE(Ready("default"));
  EXPECT_TRUE(Infer(RequestOf({NoiseImage(32, 32)})).ok());
  pipeline_->BeginDrain();
  const grpc::Status status = Infer(RequestOf({NoiseImage(32, 32)}));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "DRAINING");
}

TEST_F(InferenceTest, LiveAndReady) {
  using Stub = inference::GRPCInferenceService::Stub;
  const FakeModel fake;
  Serve({}, &fake);
  inference::ServerLiveResponse live;
  ASSERT_TRUE(Ask(&Stub::ServerLive, inference::ServerLiveRequest(), &live).ok());
  EXPECT_TRUE(live.live());
  inference::ServerReadyResponse ready;
  ASSERT_TRUE(Ask(&Stub::ServerReady, inference::ServerReadyRequest(), &ready).ok());
  EXPECT_TRUE(ready.ready());
  for (const char* name : {"", "default", "fake"}) EXPECT_TRUE(Ready(name)) << name;
  EXPECT_TRUE(Ready("fake", "1"));
  EXPECT_FALSE(Ready("fake", "2"));
  EXPECT_FALSE(Ready("nobody"));
  EXPECT_FALSE(Ready(std::string(1000, 'm')));
}

TEST_F(InferenceTest, Metadata) {
  using Stub = inference::GRPCInferenceService::Stub;
  const FakeModel fake = {.layers = 2, .experts = 5, .kept = 2};
  Serve({}, &fake);
  inference::ServerMetadataResponse server;
  ASSERT_TRUE(Ask(&Stub::ServerMetadata, inference::ServerMetadataRequest(), &server).ok());
  EXPECT_EQ(server.name(), "deweather");
  EXPECT_EQ(server.version(), "1.2.3");
  inference::ModelMetadataRequest request;
  request.set_name("default");
  inference::ModelMetadataResponse model;
  ASSERT_TRUE(Ask(&Stub::ModelMetadata, request, &model).ok());
  EXPECT_EQ(model.name(), "fake");
  EXPECT_THAT(model.versions(), ElementsAre("1"));
  ASSERT_EQ(model.inputs_size(), 2);
  EXPECT_EQ(model.inputs(0).name(), "image");
  EXPECT_EQ(model.inputs(0).datatype(), "FP32");
  EXPECT_THAT(model.inputs(0).shape(), ElementsAre(-1, 3, -1, -1));
  EXPECT_EQ(model.inputs(1).name(), "image_bytes");
  EXPECT_EQ(model.inputs(1).datatype(), "BYTES");
  EXPECT_THAT(model.inputs(1).shape(), ElementsAre(-1));
  ASSERT_EQ(model.outputs_size(), 3);
  EXPECT_EQ(model.outputs(1).name(), "routing");
  EXPECT_THAT(model.outputs(1).shape(), ElementsAre(-1, 2, 5));
  request.set_version("2");
  const grpc::Status status = Ask(&Stub::ModelMetadata, request, &model);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonOf(status), "UNKNOWN_VERSION");
}

TEST_F(InferenceTest, ConfigAndIndexForTritonsTools) {
  using Stub = inference::GRPCInferenceService::Stub;
  Serve();
  inference::ModelConfigRequest request;
  request.set_name("identity");
  inference::ModelConfigResponse response;
  ASSERT_TRUE(Ask(&Stub::ModelConfig, request, &response).ok());
  const inference::ModelConfig& config = response.config();
  EXPECT_EQ(config.name(), "identity");
  EXPECT_EQ(config.max_batch_size(), kMaxPictures);
  EXPECT_EQ(config.input(0).data_type(), inference::TYPE_FP32);
  EXPECT_THAT(config.input(0).dims(), ElementsAre(3, -1, -1));
  EXPECT_TRUE(config.input(1).optional());
  EXPECT_EQ(config.output_size(), 1);  // it routes nothing
  inference::RepositoryIndexRequest index_request;
  inference::RepositoryIndexResponse index;
  ASSERT_TRUE(Ask(&Stub::RepositoryIndex, index_request, &index).ok());
  ASSERT_EQ(index.models_size(), 1);
  EXPECT_EQ(index.models(0).name(), "identity");
  EXPECT_EQ(index.models(0).version(), "builtin");
  EXPECT_EQ(index.models(0).state(), "READY");
  index_request.set_repository_name("other");
  EXPECT_EQ(Ask(&Stub::RepositoryIndex, index_request, &index).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

class InferenceAccessTest : public InferenceTest {
 protected:
  InferenceAccessTest() { entrance_.access = &access_; }
  Access access_{Tokens{}};
};

TEST_F(InferenceAccessTest, NobodyIsLetInWithoutAToken) {
  using Stub = inference::GRPCInferenceService::Stub;
  Serve();
  EXPECT_EQ(ReasonOf(Infer(RequestOf({NoiseImage(32, 32)}))), "TOKEN_MISSING");
  EXPECT_EQ(Requests(absl::StatusCode::kUnauthenticated), 1);
  inference::ServerLiveResponse live;
  EXPECT_EQ(ReasonOf(Ask(&Stub::ServerLive, inference::ServerLiveRequest(), &live)),
            "TOKEN_MISSING");
  inference::RepositoryIndexResponse index;
  EXPECT_EQ(ReasonOf(Ask(&Stub::RepositoryIndex, inference::RepositoryIndexRequest(), &index)),
            "TOKEN_MISSING");
}

}  // namespace
}  // namespace deweather
