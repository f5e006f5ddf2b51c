#include "server/rpc/inference.h"

#include <algorithm>
#include <cstdint>
#include <exception>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/annotate.h"
#include "model/base/error_reason.h"
#include "model/base/mutex.h"
#include "model/base/status_macros.h"
#include "model/image/codec.h"
#include "server/rpc/inference_tensors.h"

namespace deweather {
namespace {

using Output = InferenceOutput;
using Message = inference::ModelInferResponse;

absl::Status NotRouted(const std::string& model) {
  return WithReason(absl::FailedPreconditionError(
                        absl::StrFormat("model '%s' routes nothing: it has no routing", model)),
                    "NOT_ROUTED");
}

bool Wants(const InferenceRequest& request, Output output) {
  return std::ranges::find(request.outputs, output) != request.outputs.end();
}

// The picture as the pipeline reads it out of the tensor, and writes it for one like it.
RawPicture PictureOf(const InferenceRequest& request, int64_t index) {
  const PictureTensor& tensor = *request.tensor;
  return {.info = tensor.info(),
          .bytes = tensor.picture_bytes(),
          .read = [tensor, index, bytes = request.bytes] { return ToImage(tensor, index, *bytes); },
          .write = [tensor](const Image& image) { return FromImage(tensor, image); }};
}

// [layers][experts]: the share of each layer's kept tokens that an expert worked on.
std::vector<float> SharesOf(const RoutingSummary& routing) {
  const auto kept = static_cast<double>(routing.units * routing.kept);
  std::vector<float> shares;
  for (const int64_t tokens : routing.tokens) {
    shares.push_back(static_cast<float>(static_cast<double>(tokens) / kept));
  }
  return shares;
}

std::vector<float> ValuesOf(const Image& map) {
  std::vector<float> values;
  const auto* const samples = reinterpret_cast<const uint16_t*>(map.samples.data());
  const int64_t count = int64_t{map.width} * map.height;
  for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(samples[i]) / 65535.0f);
  return values;
}

// Adds an output's description and its raw form, to be filled.
std::string& AddOutput(Output output, std::string_view datatype, const std::vector<int64_t>& shape,
                       Message& message) {
  Message::InferOutputTensor& tensor = *message.add_outputs();
  tensor.set_name(std::string(NameOf(output)));
  tensor.set_datatype(std::string(datatype));
  for (const int64_t side : shape) tensor.add_shape(side);
  return *message.add_raw_output_contents();
}

std::vector<int64_t> ShapeOf(const PictureTensor& tensor) {
  if (tensor.layout == TensorLayout::kNhwc) {
    return {tensor.count, tensor.height, tensor.width, 3};
  }
  return {tensor.count, 3, tensor.height, tensor.width};
}

// All results have one picture more or less.
using Results = std::vector<RestoreResult>;

void AddRestored(const InferenceRequest& request, Results& results, Message& message) {
  if (request.tensor.has_value()) {
    const PictureTensor& tensor = *request.tensor;
    std::string& raw =
        AddOutput(Output::kRestored, DatatypeOf(tensor.type), ShapeOf(tensor), message);
    raw = std::move(results.front().image);  // most tensors hold one picture
    raw.reserve(raw.size() * results.size());
    for (size_t i = 1; i < results.size(); ++i) raw += std::exchange(results[i].image, {});
    return;
  }
  std::string& raw = AddOutput(Output::kRestored, "BYTES", request.files_shape, message);
  for (RestoreResult& result : results) AppendElement(std::exchange(result.image, {}), raw);
}

absl::Status AddRouting(const Results& results, Message& message) {
  const RoutingSummary& first = results.front().routing;
  if (first.layers == 0) return NotRouted(results.front().model);
  std::string& raw =
      AddOutput(Output::kRouting, "FP32",
                {static_cast<int64_t>(results.size()), first.layers, first.experts}, message);
  for (const RestoreResult& result : results) AppendFloats(SharesOf(result.routing), raw);
  return absl::OkStatus();
}

absl::Status AddUncertainty(const Results& results, Message& message) {
  std::string raw;
  std::vector<int64_t> shape;
  for (const RestoreResult& result : results) {
    DW_ASSIGN_OR_RETURN(const Image map, DecodeImage(result.uncertainty_map_png, {}));
    shape = {static_cast<int64_t>(results.size()), 1, map.height, map.width};
    AppendFloats(ValuesOf(map), raw);
  }
  AddOutput(Output::kUncertainty, "FP32", shape, message) = std::move(raw);
  return absl::OkStatus();
}

absl::StatusOr<Message> ToMessage(const InferenceRequest& request, Results results) {
  Message message;
  message.set_model_name(results.front().model);
  message.set_model_version(results.front().version);
  message.set_id(request.id);
  for (const Output output : request.outputs) {
    switch (output) {
      case Output::kRestored:
        AddRestored(request, results, message);
        break;
      case Output::kRouting:
        DW_RETURN_IF_ERROR(AddRouting(results, message));
        break;
      case Output::kUncertainty:
        DW_RETURN_IF_ERROR(AddUncertainty(results, message));
        break;
    }
  }
  return message;
}

absl::Status CheckReplySize(int64_t bytes, int64_t limit) {
  if (bytes <= limit) return absl::OkStatus();
  return WithReason(
      absl::ResourceExhaustedError(absl::StrFormat(
          "the restored pictures have %d bytes; the server sends at most %d", bytes, limit)),
      "REPLY_SIZE");
}

// What is wrong with one of several files says with which.
absl::Status OfFile(const InferenceRequest& request, int64_t index, const absl::Status& status) {
  if (!absl::IsInvalidArgument(status) || request.files.size() <= 1) return status;
  return OfField(absl::StrFormat("%s[%d]", kFilesInput, index), status);
}

// Owns     the pin only until each picture has its own
// Threads  Start: the caller's; Ended: whatever the pipeline calls it on
class Inference : public std::enable_shared_from_this<Inference> {
 public:
  Inference(const InferenceParts& parts, InferenceRequest request, InferenceCaller caller,
            InferenceDone done)
      : parts_(parts),
        request_(std::move(request)),
        caller_(std::move(caller)),
        done_(std::move(done)),
        results_(static_cast<size_t>(request_.count())),
        pending_(request_.count()) {}

  void Start() {
    absl::StatusOr<PinnedModel> model = Admit();
    if (!model.ok()) return Refuse(model.status());
    auto pinned = std::make_shared<const PinnedModel>(*std::move(model));
    std::vector<RestoreRequest> pictures = Pictures(pinned);
    const absl::Status together = CheckTogether(pictures);
    if (together.ok()) {
      BeginAll(std::move(pictures));
    } else {
      pictures.clear();
      Refuse(together);
    }
    // As in the pipeline: freeing a version takes time, where nobody else has it any more.
    if (pinned->restorer.use_count() == 1) {
      parts_.pipeline.executor()([retired = std::move(pinned)] {});
    }
  }

 private:
  void Refuse(const absl::Status& status) {
    parts_.pipeline.CountRefused(status);
    done_(status);
  }

  // What can be wrong with all pictures, before one is begun.
  absl::StatusOr<PinnedModel> Admit() {
    if (request_.tensor.has_value()) {
      const int64_t bytes = request_.tensor->count * request_.tensor->picture_bytes();
      DW_RETURN_IF_ERROR(CheckReplySize(bytes, parts_.limits.max_send_bytes));
    }
    DW_ASSIGN_OR_RETURN(PinnedModel model,
                        parts_.models.Pin(request_.options.model, request_.version));
    if (Wants(request_, Output::kRouting) && model.info.layers == 0) {
      return NotRouted(model.info.name);
    }
    return model;
  }

  std::vector<RestoreRequest> Pictures(const std::shared_ptr<const PinnedModel>& model) {
    std::vector<RestoreRequest> pictures(static_cast<size_t>(request_.count()));
    for (size_t i = 0; i < pictures.size(); ++i) {
      RestoreRequest& picture = pictures[i];
      if (request_.tensor.has_value()) {
        picture.raw = PictureOf(request_, static_cast<int64_t>(i));
      } else {
        picture.image = std::exchange(request_.files[i], {});
      }
      picture.options = request_.options;
      picture.model = model;
      picture.deadline = std::min(caller_.deadline, start_ + request_.timeout);
      picture.caller = caller_.name;
      picture.max_reply_bytes = parts_.limits.max_send_bytes;
      picture.cancel = caller_.cancel.get_token();
    }
    request_.bytes.reset();
    return pictures;
  }

  // They are in flight at the same time: what never fits is not to be tried again.
  absl::Status CheckTogether(const std::vector<RestoreRequest>& pictures) const {
    if (pictures.size() <= 1) return absl::OkStatus();
    Admission::Needs all;
    for (size_t i = 0; i < pictures.size(); ++i) {
      const auto needs = parts_.pipeline.NeedsOf(pictures[i]);
      if (!needs.ok()) return OfFile(request_, static_cast<int64_t>(i), needs.status());
      all.bytes += needs->bytes;
      all.window_tiles += needs->window_tiles;
    }
    const absl::Status status = parts_.pipeline.CheckTogether(all);
    if (status.ok()) return status;
    return InvalidTensor(absl::StrFormat("%d pictures are too many for one request: %s",
                                         pictures.size(), status.message()));
  }

  void BeginAll(std::vector<RestoreRequest> pictures) {
    for (size_t i = 0; i < pictures.size(); ++i) {
      const auto index = static_cast<int64_t>(i);
      if (caller_.cancel.stop_requested()) {
        Ended(index, absl::CancelledError("the caller cancelled"));
      } else {
        Begin(index, std::move(pictures[i]));
      }
    }
  }

  void Begin(int64_t index, RestoreRequest picture) {
    auto room = parts_.unread.TakeFor(picture);
    parts_.pipeline.Start(std::move(picture), [self = shared_from_this(), index,
                                               room](absl::StatusOr<RestoreResult> result) {
      self->Ended(index, std::move(result), room);
    });
  }

  void Ended(int64_t index, absl::StatusOr<RestoreResult> result,
             std::shared_ptr<UnreadReplies::Share> room = nullptr) {
    const bool failed = !result.ok();
    bool last = false;
    {
      MutexLock lock(mutex_);
      status_.Update(OfFile(request_, index, result.status()));  // keeps the first
      if (!failed) {
        results_[static_cast<size_t>(index)] = *std::move(result);
        room_.push_back(std::move(room));
      }
      last = --pending_ == 0;
    }
    if (failed) caller_.cancel.request_stop();
    if (last) done_(Reply());
  }

  // Of all pictures; nobody else touches them any more. Memory may be short.
  absl::StatusOr<InferenceReply> Reply() {
    try {
      MutexLock lock(mutex_);
      DW_RETURN_IF_ERROR(status_);
      int64_t bytes = 0;
      InferenceReply reply;
      for (const RestoreResult& result : results_) {
        bytes += static_cast<int64_t>(result.image.size());
        reply.figures.Add(result);
      }
      DW_RETURN_IF_ERROR(CheckReplySize(bytes, parts_.limits.max_send_bytes));
      DW_ASSIGN_OR_RETURN(reply.message, ToMessage(request_, std::move(results_)));
      reply.room = std::move(room_);
      return reply;
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError("out of memory");
    }
  }

  const InferenceParts parts_;
  InferenceRequest request_;
  InferenceCaller caller_;
  const InferenceDone done_;
  const absl::Time start_ = absl::Now();

  Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);  // of the first picture that failed
  Results results_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<UnreadReplies::Share>> room_ ABSL_GUARDED_BY(mutex_);
  int64_t pending_ ABSL_GUARDED_BY(mutex_);  // pictures that have not ended
};

}  // namespace

void StartInference(const InferenceParts& parts, InferenceRequest request, InferenceCaller caller,
                    InferenceDone done) {
  std::make_shared<Inference>(parts, std::move(request), std::move(caller), std::move(done))
      ->Start();
}

}  // namespace deweather
