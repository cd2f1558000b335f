// Attention over the events of each session, forward and backward.
//
//   naive      a thread an (event, example): its energy; then a thread an element of the result
//   shipped    a warp an example, or an event: ragged, no atomics (kernels/cuda/session_attention.cu)
//
// Least: x, keys, queries read and the result written, 8·L·D + 8·B·D bytes; backward the same read, d_y too, and
// d_x, d_keys, d_query written, 20·L·D + 12·B·D. Flops are few: some 6·P·D, P the pairs of event and example.
#include "benchmarks/kernels/bench.h"

namespace {

using namespace bench;

// Sessions of five events: examples of 1, 2, 3 and 4 share them.
constexpr Index kEvents = 4;

__global__ void energies_kernel(stamp::SessionAttention p, float* energies) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x, b = i / kEvents, j = i % kEvents;
  if (b >= p.ranges.B || j >= p.ranges.length[b]) return;
  const float *key = p.keys + (p.ranges.begin[b] + j) * p.D, *query = p.query + b * p.D;
  float sum = 0;
  for (Index d = 0; d < p.D; ++d) sum += p.w0[d] / (1 + expf(-(key[d] + query[d])));
  energies[i] = sum;
}

__global__ void sums_kernel(stamp::SessionAttention p, const float* energies, float* y) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x, b = i / p.D, d = i % p.D;
  if (b >= p.ranges.B) return;
  float sum = 0;
  for (Index j = 0; j < p.ranges.length[b]; ++j)
    sum += energies[b * kEvents + j] * p.x[(p.ranges.begin[b] + j) * p.D + d];
  y[i] = sum;
}

// Inputs and outputs on one device.
struct Problem {
  Index B, L, D;
  Array<std::int32_t> begin, length;
  Array<float> x, keys, query, w0, d_y, y, d_x, d_keys, d_query, d_w0;

  Problem(const DevicePtr& device, Index B, Index D) : B(B), L(B), D(D) {
    std::vector<std::int32_t> begins, lengths;
    for (Index b = 0; b < B; ++b) {
      begins.push_back(static_cast<std::int32_t>(b / kEvents * kEvents));
      lengths.push_back(static_cast<std::int32_t>(b % kEvents + 1));
    }
    for (auto* array : {&begin, &length}) *array = Array<std::int32_t>(device, 0);
    begin.upload(begins), length.upload(lengths);
    unsigned seed = 1;
    for (auto* array : {&x, &keys, &query, &w0, &d_y}) {
      *array = Array<float>(device, 0);
      array->upload(random(array == &w0 ? D : B * D, 0.5, seed++));
    }
    for (auto* array : {&y, &d_x, &d_keys, &d_query, &d_w0}) *array = Array<float>(device, array == &d_w0 ? D : B * D);
    device->synchronize();
  }
  stamp::SessionAttention attention() {
    return {.ranges = {begin.data(), length.data(), B, L},
            .D = D,
            .x = x.data(),
            .keys = keys.data(),
            .query = query.data(),
            .w0 = w0.data(),
            .residual = nullptr,
            .normalization = stamp::Normalization::none};
  }
  void forward(Device& device) { device.session_attention(attention(), y.data()); }
  void backward(Device& device) {  // adds to d_x
    device.session_attention_backward(attention(), d_y.data(), d_x.data(), d_keys.data(), d_query.data(), d_w0.data());
  }
};

void measure(Bench& bench, Index B, Index D) {
  const auto cpu = stamp::open_device("cpu");
  Problem expected(cpu, B, D), p(bench.memory(), B, D);
  expected.forward(*cpu), expected.backward(*cpu);
  const std::string shape = stamp::concat("L=", p.L, " D=", D, " B=", B);
  const auto elements = [&](double of_events, double of_examples) {
    return static_cast<double>(D) * (of_events * static_cast<double>(p.L) + of_examples * static_cast<double>(B));
  };
  const Least forward{0, elements(8, 8), "fp32"}, backward{0, elements(20, 12), "fp32"};

  auto energies = bench.array(B * kEvents);
  const Work naive = [&] {
    launch("energies", bench.stream(), energies_kernel, blocks_for(B * kEvents, kThreads), dim3(kThreads), 0,
           p.attention(), energies.data());
    launch("sums", bench.stream(), sums_kernel, blocks_for(B * D, kThreads), dim3(kThreads), 0, p.attention(),
           energies.data(), p.y.data());
  };
  bench.once(naive);
  bench.time("naive forward", shape, forward, verify("naive", p.y.download(), expected.y.download(), 1e-5), naive);
  p.forward(*bench.memory());
  bench.time("shipped forward", shape, forward, verify("forward", p.y.download(), expected.y.download(), 1e-5),
             *bench.memory(), [&] { p.forward(*bench.memory()); });
  p.backward(*bench.memory());
  const double error = std::max({verify("d_x", p.d_x.download(), expected.d_x.download(), 1e-5),
                                 verify("d_keys", p.d_keys.download(), expected.d_keys.download(), 1e-5),
                                 verify("d_query", p.d_query.download(), expected.d_query.download(), 1e-5),
                                 verify("d_w0", p.d_w0.download(), expected.d_w0.download(), 1e-5)});
  bench.time("shipped backward", shape, backward, error, *bench.memory(), [&] { p.backward(*bench.memory()); });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run("session_attention", argc, argv, [](Bench& bench) {
    if (bench.tiny()) return measure(bench, 8, 20);
    measure(bench, 512, 100);
    measure(bench, 65'536, 100);
  });
}
