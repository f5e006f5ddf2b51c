// Runs the text of CUDA kernels on the CPU, so that their arithmetic is tested where there is no GPU.
// Include it before a *_kernels.h, which then compiles as plain C++.
//
// The threads of a block are coroutines: each runs until a barrier or a shuffle, then another. Between
// two barriers one warp runs as far as it can, then the next, in an order that is drawn anew: where a
// barrier is missing, some order reads what is not there yet, or no longer. Blocks run one after another.

#ifndef DEWEATHER_TESTS_KERNELS_CUDA_ON_CPU_H_
#define DEWEATHER_TESTS_KERNELS_CUDA_ON_CPU_H_

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#define __global__ inline
#define __device__
#define __shared__ static

namespace deweather::cuda {

struct Place {
  unsigned x = 0;
};
inline Place threadIdx, blockIdx, blockDim, gridDim;

class Block {
 public:
  Block(unsigned threads, std::function<void()> body)
      : body_(std::move(body)), threads_(threads), warps_(threads / kWarp), lanes_(kWarp) {
    std::iota(warps_.begin(), warps_.end(), 0u);
    std::iota(lanes_.begin(), lanes_.end(), 0u);
    for (Thread& thread : threads_) thread.stack = std::make_unique<char[]>(kStackBytes);
  }

  void Run(unsigned block) {
    running_ = this;
    blockIdx.x = block;
    for (unsigned t = 0; t < threads_.size(); ++t) Start(t);
    while (Advance() || Release()) {
    }
  }

  // What the running thread calls.
  static void Wait(bool whole_block) {
    Block& block = *running_;
    Thread& thread = block.threads_[block.current_];
    thread.state = whole_block ? State::kAtBlockBarrier : State::kAtWarpBarrier;
    swapcontext(&thread.context, &block.scheduler_);
  }
  static float& Exchanged(unsigned thread) { return running_->threads_[thread].exchanged; }

 private:
  static constexpr size_t kStackBytes = 64 * 1024;
  static constexpr unsigned kWarp = 32;
  enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kDone };
  struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    State state = State::kDone;
    float exchanged = 0;
  };

  static void Main() {
    Block& block = *running_;
    block.body_();
    block.threads_[block.current_].state = State::kDone;
  }

  void Start(unsigned t) {
    Thread& thread = threads_[t];
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = kStackBytes;
    thread.context.uc_link = &scheduler_;
    makecontext(&thread.context, &Block::Main, 0);
    thread.state = State::kReady;
  }

  // Runs the threads of the first warp of the order that has any that are ready; whether there was one.
  bool Advance() {
    for (const unsigned warp : warps_) {
      if (Advance(warp * kWarp)) return true;
    }
    return false;
  }
  bool Advance(unsigned first) {
    std::shuffle(lanes_.begin(), lanes_.end(), random_);
    bool any = false;
    for (const unsigned lane : lanes_) {
      if (threads_[first + lane].state != State::kReady) continue;
      any = true;
      current_ = first + lane;
      threadIdx.x = current_;
      swapcontext(&scheduler_, &threads_[current_].context);
    }
    if (All(first, kWarp, State::kAtWarpBarrier)) MakeReady(first, kWarp);
    return any;
  }

  bool All(unsigned first, unsigned count, State state) const {
    return std::all_of(threads_.begin() + first, threads_.begin() + first + count,
                       [&](const Thread& thread) { return thread.state == state; });
  }
  void MakeReady(unsigned first, unsigned count) {
    for (unsigned t = first; t < first + count; ++t) threads_[t].state = State::kReady;
  }

  // Lets the block pass its barrier; whether it was there.
  bool Release() {
    const unsigned count = static_cast<unsigned>(threads_.size());
    std::shuffle(warps_.begin(), warps_.end(), random_);
    if (All(0, count, State::kDone)) return false;
    if (!All(0, count, State::kAtBlockBarrier)) {
      std::fputs("a barrier that not all threads reach\n", stderr);
      std::abort();
    }
    MakeReady(0, count);
    return true;
  }

  inline static Block* running_ = nullptr;
  std::function<void()> body_;
  std::vector<Thread> threads_;
  std::vector<unsigned> warps_, lanes_;
  std::mt19937 random_{20};
  ucontext_t scheduler_;
  unsigned current_ = 0;
};

inline void __syncthreads() { Block::Wait(/*whole_block=*/true); }

// Of 32-bit values.
template <typename T>
T __shfl_xor_sync(unsigned /*lanes*/, T value, int mask) {
  static_assert(sizeof(T) == sizeof(float));
  const unsigned self = threadIdx.x;
  __builtin_memcpy(&Block::Exchanged(self), &value, sizeof(value));
  Block::Wait(/*whole_block=*/false);
  __builtin_memcpy(&value, &Block::Exchanged(self ^ static_cast<unsigned>(mask)), sizeof(value));
  Block::Wait(/*whole_block=*/false);
  return value;
}

// kernel<<<blocks, threads>>>(arguments...)
template <typename Kernel, typename... Arguments>
void Launch(unsigned blocks, unsigned threads, Kernel kernel, Arguments... arguments) {
  gridDim.x = blocks;
  blockDim.x = threads;
  Block block(threads, [&] { kernel(arguments...); });
  for (unsigned b = 0; b < blocks; ++b) block.Run(b);
}

}  // namespace deweather::cuda

#endif  // DEWEATHER_TESTS_KERNELS_CUDA_ON_CPU_H_
