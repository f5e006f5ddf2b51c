#include "model/router.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>

#include <tuple>

namespace deweather {

Gates Route(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, Gate gate,
            int kept) {
  Gates gates;
  gates.logits = at::linear(x.to(weight.scalar_type()), weight, bias);  // [N,E]
  if (gate == Gate::kPaper) {
    const at::Tensor all = at::softmax(gates.logits, -1);           // [N,E]
    std::tie(gates.weights, gates.kept) = at::topk(all, kept, -1);  // [N,K]
    return gates;
  }
  auto [largest, index] = at::topk(gates.logits, kept, -1);  // [N,K]
  gates.kept = index;
  gates.weights = at::softmax(largest, -1);
  return gates;
}

}  // namespace deweather
