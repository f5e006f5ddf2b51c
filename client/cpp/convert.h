// The library's structs and the API's messages, one into the other.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_CLIENT_CPP_CONVERT_H_
#define DEWEATHER_CLIENT_CPP_CONVERT_H_

#include <string>

#include "deweather/jobs.h"
#include "deweather/models.h"
#include "deweather/restore.h"
#include "deweather/v1/model.pb.h"
#include "deweather/v1/restoration.pb.h"
#include "deweather/v1/training.pb.h"

namespace deweather {

// Throw kInvalidArgument: a text that is no UTF-8.
v1::RestoreOptions ToMessage(const RestoreOptions& options);
v1::PromoteModelRequest ToMessage(const Promotion& promotion);
v1::ListJobsRequest ToMessage(const JobFilter& filter);

// Takes the pictures out of `response`.
Restored ToRestored(v1::RestoreResponse&& response, const std::string& request_id);
FrameResult ToFrameResult(v1::RestoreStreamResponse&& response, const std::string& request_id);
Model ToModel(const v1::Model& message);
Job ToJob(const v1::Job& message);
JobEvent ToJobEvent(const v1::JobEvent& message);
Artifact ToArtifact(const v1::Artifact& message);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_CPP_CONVERT_H_
