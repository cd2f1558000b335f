// The encoder, from events to queries and back.
//
//   cuBLAS alone   its products: five forward, ten backward; nothing looked up, no gate
//   shipped        one launch forward, three backward (kernels/cuda/encoder.cu, encoder_backward.cu,
//                  weight_gradients.cu); B = 1 is a request
//
// Least: 2·D² flops for each row and matrix forward, twice that backward; rows looked up and queries written, 4·L·D +
// 4·B·D bytes; backward both gradients instead, and the weights' five matrices, which forward reads.
#include "benchmarks/kernels/cublas.h"
#include "stamp/model.h"

namespace {

using namespace bench;

// Sessions of five events: examples of 1, 2, 3 and 4 share them.
constexpr Index kEvents = 4;

stamp::Batch batch_of(Index B, Index V) {
  stamp::Batch batch;
  batch.items = random_rows((B + kEvents - 1) / kEvents * kEvents, V, 1);
  for (Index b = 0; b < B; ++b) {
    batch.begin.push_back(static_cast<std::int32_t>(b / kEvents * kEvents));
    batch.length.push_back(static_cast<std::int32_t>(b % kEvents + 1));
  }
  batch.targets.assign(static_cast<std::size_t>(B), 0);
  batch.weights.assign(static_cast<std::size_t>(B), 1.0f / static_cast<float>(B));
  return batch;
}

// A model of the preset "tuned" and a batch, on one device.
struct Problem {
  DevicePtr device;
  stamp::Model model;
  stamp::Activations activations;
  stamp::Weights gradients;
  Array<stamp::TrainingStep> step;

  Problem(const DevicePtr& device, const stamp::Config& config, const stamp::Batch& batch, Index V)
      : device(device),
        model(config, V, device),
        activations(device),
        gradients(config, V, device, false),
        step(device, 1) {
    activations.upload(batch, config);
    activations.prepare_backward(config.dim);
    activations.d_q.upload(random(batch.B() * config.dim, 1, 2));
    const stamp::TrainingStep first;
    step.upload({&first, 1});
    device->synchronize();
  }
  void request() { model.forward(*device, activations); }
  void forward() { model.forward(*device, activations, step.data()); }
  void backward() { model.backward(*device, activations, gradients, step.data()); }
};

void measure(Bench& bench, Index B, Index D, Index V) {
  const stamp::Batch batch = batch_of(B, V);
  stamp::Config config = stamp::Config::preset("tuned");
  config.dim = D;
  // As of a model that has been trained: where weights barely bend anything, gradients are what is left of terms that
  // cancel.
  config.item_std = 0.3f;
  config.weight_std = static_cast<float>(1 / std::sqrt(static_cast<double>(D)));
  Problem expected(stamp::open_device("cpu"), config, batch, V);
  expected.forward(), expected.backward();
  const Index L = batch.L();
  const std::string shape = stamp::concat("L=", L, " D=", D, " B=", B);
  const auto d = [](Index n) { return static_cast<double>(n); };
  const auto least = [&](Precision precision, bool backward) {
    const double flops = 2 * d(D) * d(D) * d(L + 4 * B), matrices = 20 * d(D) * d(D);
    return Least{backward ? 2 * flops : flops, 4 * d(D) * d(L + B) + (backward ? 2 : 1) * matrices, name_of(precision)};
  };
  const bool trains = B > 1;

  if (trains) {
    const Cublas cublas(bench.stream());
    auto rows = bench.upload(random(L * D, 1, 3)), weights = bench.upload(random(D * D, 1, 4)),
         y = bench.array(std::max(L, D) * D);
    const auto products = [&](bool backward) {
      for (int i = 0; i < 5; ++i) {
        const Index N = i == 0 ? L : B;
        cublas.product(N, D, D, rows.data(), false, weights.data(), !backward, y.data(), compute_of(Precision::tf32));
        if (backward)
          cublas.product(D, D, N, rows.data(), true, rows.data(), false, y.data(), compute_of(Precision::tf32));
      }
    };
    bench.time("cuBLAS alone forward tf32", shape, least(Precision::tf32, false), 0, [&] { products(false); });
    bench.time("cuBLAS alone backward tf32", shape, least(Precision::tf32, true), 0, [&] { products(true); });
  }
  for (const auto precision : {Precision::bf16, Precision::tf32, Precision::fp32}) {
    const double bound = 2 * bound_of(precision);  // through the whole network
    Problem p(bench.open(precision), config, batch, V);
    const auto check = [&](const char* what, const Array<float>& actual, const Array<float>& of_cpu) {
      return verify(what, actual.download(), of_cpu.download(), bound);
    };
    const std::string suffix = stamp::concat(" ", name_of(precision));
    p.forward();
    const double error = check("queries", p.activations.q, expected.activations.q);
    if (trains)
      bench.time("shipped forward" + suffix, shape, least(precision, false), error, *p.device, [&] { p.forward(); });
    else
      bench.time("shipped request" + suffix, shape, least(precision, false), error, *p.device, [&] { p.request(); });
    if (!trains) continue;
    p.backward();
    const double of_backward = std::max({check("d_x", p.activations.d_x, expected.activations.d_x),
                                         check("d_w1", p.gradients.w1, expected.gradients.w1),
                                         check("d_w3", p.gradients.w3, expected.gradients.w3),
                                         check("d_w0", p.gradients.w0, expected.gradients.w0)});
    bench.time("shipped backward" + suffix, shape, least(precision, true), of_backward, *p.device,
               [&] { p.backward(); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run("encoder", argc, argv, [](Bench& bench) {
    if (bench.tiny()) return measure(bench, 8, 20, 50), measure(bench, 1, 20, 50);
    measure(bench, 1, 100, 43'097);
    measure(bench, 512, 100, 43'097);
    measure(bench, 65'536, 100, 43'097);
  });
}
