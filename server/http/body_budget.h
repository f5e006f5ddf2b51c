// Room for all bodies that are in memory at a time, of requests and of replies.
// Requests are refused where there is none. Replies are not, as the work is done; they take the room of requests.
//
// Threads  thread-safe

#ifndef DEWEATHER_SERVER_HTTP_BODY_BUDGET_H_
#define DEWEATHER_SERVER_HTTP_BODY_BUDGET_H_

#include <atomic>
#include <cstdint>

namespace deweather {

class BodyBudget {
 public:
  explicit BodyBudget(int64_t max_bytes) : max_bytes_(max_bytes) {}

  int64_t max_bytes() const { return max_bytes_; }
  int64_t held_bytes() const { return held_; }

  // What one body holds; given back when it ends.
  class Share {
   public:
    explicit Share(BodyBudget& budget) : budget_(budget) {}
    ~Share() { Return(); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    // False: there is no room, and nothing was taken.
    bool Take(int64_t bytes) {
      if (budget_.held_.fetch_add(bytes) + bytes > budget_.max_bytes_) {
        budget_.held_ -= bytes;
        return false;
      }
      bytes_ += bytes;
      return true;
    }
    // Whether or not there is room.
    void TakeAnyway(int64_t bytes) {
      budget_.held_ += bytes;
      bytes_ += bytes;
    }
    void Return() {
      budget_.held_ -= bytes_;
      bytes_ = 0;
    }

   private:
    BodyBudget& budget_;
    int64_t bytes_ = 0;
  };

 private:
  const int64_t max_bytes_;
  std::atomic<int64_t> held_ = 0;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_BODY_BUDGET_H_
