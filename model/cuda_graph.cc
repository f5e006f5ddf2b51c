#include "model/cuda_graph.h"

#ifdef DEWEATHER_CUDA
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <memory>
#include <vector>
#endif

namespace deweather {

#ifdef DEWEATHER_CUDA
namespace {

// Of the pass, before it is recorded: libraries choose their kernels, load them and take their workspaces.
constexpr int kRunsBefore = 3;

// One a device for the whole process: cuBLAS keeps a workspace for every stream that it has worked on.
c10::cuda::CUDAStream CaptureStream(at::DeviceIndex device) {
  static const std::vector<c10::cuda::CUDAStream> streams = [] {
    std::vector<c10::cuda::CUDAStream> all;
    for (at::DeviceIndex i = 0; i < c10::cuda::device_count(); ++i) {
      all.push_back(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, i));
    }
    return all;
  }();
  return streams.at(static_cast<size_t>(device));
}

template <typename Body>
void IgnoreErrors(Body&& body) {
  try {
    body();
  } catch (const c10::Error&) {
  }
}

// A graph whose recording may fail without a trace. LibTorch's own leaves its allocators recording then, with a
// filter that points to the graph.
class Graph : public at::cuda::CUDAGraph {
 public:
  // On the current stream, which is not the default one. Throws c10::Error.
  template <typename Body>
  void Record(c10::MempoolId_t pool, Body&& body) {
    // Of this thread alone: others may allocate on the GPU meanwhile.
    try {
      capture_begin(pool, cudaStreamCaptureModeThreadLocal);
      body();
      capture_end();
    } catch (...) {
      if (!capture_ended_) Abandon(pool);
      throw;
    }
  }

 private:
  void Abandon(c10::MempoolId_t pool) {
    IgnoreErrors([&] { capture_end(); });
    // Ended, reset() releases the memory; never begun, there is none.
    if (capture_ended_ || capture_dev_ == UNDEFINED_DEVICE) return;
    at::HostAllocator* const host = at::getHostAllocator(at::kCUDA);
    IgnoreErrors([&] { c10::cuda::CUDACachingAllocator::endAllocateToPool(capture_dev_, pool); });
    IgnoreErrors([&] { host->end_allocate_to_pool(pool); });
    IgnoreErrors([&] { c10::cuda::CUDACachingAllocator::releasePool(capture_dev_, pool); });
    IgnoreErrors([&] { host->release_pool(pool); });
    cudaGetLastError();  // an invalid capture is nobody else's error
  }
};

struct RecordedGraph {
  at::Tensor tiles;  // that it reads
  Restored result;   // that it writes
  Graph graph;
  c10::MempoolId_t pool;
};

// Those that are captured one after another share a pool of memory for as long as one of them lives; a
// pool that nobody uses any more cannot be used again.
class GraphPools {
 public:
  c10::MempoolId_t Next() const {
    const std::shared_ptr<const RecordedGraph> last = last_.lock();
    return last == nullptr ? at::cuda::graph_pool_handle() : last->pool;
  }
  void Share(const std::shared_ptr<const RecordedGraph>& graph) { last_ = graph; }

 private:
  std::weak_ptr<const RecordedGraph> last_;
};

std::shared_ptr<RecordedGraph> Record(at::Device device, c10::MempoolId_t pool,
                                      const ComputePass& compute, const at::Tensor& tiles) {
  auto recorded = std::make_shared<RecordedGraph>();
  recorded->pool = pool;
  recorded->tiles = tiles.to(device, tiles.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  c10::cuda::device_synchronize();  // what the current stream has copied, the other reads
  const c10::cuda::CUDAStreamGuard guard(CaptureStream(device.index()));
  for (int i = 0; i < kRunsBefore; ++i) compute(recorded->tiles);
  guard.current_stream().synchronize();
  c10::cuda::CUDACachingAllocator::emptyCache();  // nothing else will work on that stream
  recorded->graph.Record(pool, [&] { recorded->result = compute(recorded->tiles); });
  return recorded;
}

}  // namespace

RecordPass GraphRecorder(at::Device device) {
  if (!device.is_cuda()) return {};
  auto pools = std::make_shared<GraphPools>();
  return [device, pools](const ComputePass& compute, const at::Tensor& tiles) -> ComputePass {
    const c10::cuda::CUDAGuard guard(device);
    const std::shared_ptr<RecordedGraph> recorded = Record(device, pools->Next(), compute, tiles);
    pools->Share(recorded);
    return [recorded](const at::Tensor& input) {
      recorded->tiles.copy_(input, /*non_blocking=*/true);
      recorded->graph.replay();
      return recorded->result;
    };
  };
}

#else

RecordPass GraphRecorder(at::Device /*device*/) { return {}; }
#endif

}  // namespace deweather
