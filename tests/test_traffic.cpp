// Flops and bytes of one training step, counted by the simulator, against the least that it can be done with
// (docs/design.md, section 5). STAMP_TRAFFIC names a file that a line of JSON is appended to, for benchmarks/report.py.
//
// Bytes are those that the kernels' threads ask device memory for, a bound on what moves: a warp whose lanes read one
// address counts it 32 times, and caches are not modelled. cuBLAS and the sort count none, cuBLAS its flops.
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "stamp/optimizer.h"
#include "tests/check.h"
#include "tests/simt/block.h"
#include "tests/simt/races.h"

using namespace stamp;

extern "C" Device* stamp_module_open(int index, Precision precision);

namespace {

constexpr std::int64_t V = 2000, D = 100, B = 128, kEvents = 5;

struct Count {
  double tensor_flops, dense_flops, bytes;
};

template <class Work>
Count count(Device& device, const Work& work) {
  device.synchronize();
  simt::reset_traffic();
  const simt::Flops before = simt::flops;
  work();
  device.synchronize();
  const simt::Traffic moved = simt::traffic();
  return {static_cast<double>(simt::flops.mma - before.mma), static_cast<double>(simt::flops.gemm - before.gemm),
          static_cast<double>(moved.device_read + moved.device_written)};
}

// B examples of sessions of five events, four each.
Batch batch_of_sessions() {
  Batch batch;
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t session = b / (kEvents - 1), length = b % (kEvents - 1) + 1;
    if (length == 1)
      for (std::int64_t i = 0; i < kEvents - 1; ++i)
        batch.items.push_back(static_cast<std::int32_t>((session * 131 + i * 17) % V));
    batch.begin.push_back(static_cast<std::int32_t>(session * (kEvents - 1)));
    batch.length.push_back(static_cast<std::int32_t>(length));
    batch.targets.push_back(static_cast<std::int32_t>((b * 37 + 5) % V));
    batch.weights.push_back(1.0f / B);
  }
  batch.weight = B;
  return batch;
}

}  // namespace

TEST_CASE("a training step takes little more than it must") {
  const std::shared_ptr<Device> device(stamp_module_open(0, Precision::bf16));
  Config config;
  config.dim = D;
  Model model(config, V, device);
  Optimizer optimizer(OptimizerConfig{}, model);
  const Batch batch = batch_of_sessions();
  optimizer.step(batch, 0.001f);  // scratch memory has its size
  const Count step = count(*device, [&] { optimizer.step(batch, 0.001f); });

  const auto queries = check::on(device, check::random(B * D, 0.1, 1));
  const auto targets = check::on(device, batch.targets);
  const auto weights = check::on(device, batch.weights);
  Array<float> losses(device, B), log_sums(device, B), d_queries(device, B * D), d_items(device, V * D);
  const CatalogCrossEntropy problem{
      B, D, V, queries.data(), model.weights().items.data(), false, targets.data(), weights.data(), nullptr, 0};
  const Count forward =
      count(*device, [&] { device->catalog_cross_entropy(problem, losses.data(), log_sums.data(), d_queries.data()); });

  // The four products with the catalog; six of [D,D] with each event, or with each example, at three times (forward,
  // to the input, to the weights).
  const double flops = 8.0 * B * V * D;
  const auto L = static_cast<double>((batch.L() + device->padding() - 1) / device->padding() * device->padding());
  const double dense_flops = 6.0 * D * D * (L + 4 * B);
  // The table comes once for the loss; once more, with both moments, to be updated and written.
  const double forward_bytes = 4.0 * V * D, bytes = 28.0 * V * D;

  CHECK(step.tensor_flops >= flops);
  CHECK(step.tensor_flops < 1.2 * flops);  // D = 100 is padded to 112, V to a multiple of 128
  CHECK(forward.tensor_flops < 1.2 * flops / 2);
  CHECK(step.dense_flops <= dense_flops);
  CHECK(forward.bytes >= forward_bytes);
  // Beside the table itself: its bf16 copy, twice; the parts of d_queries, as large as the table at this V; what all
  // lanes of a warp ask for at once.
  CHECK(forward.bytes < 6 * forward_bytes);
  CHECK(step.bytes < 5 * bytes);

  if (const char* file = std::getenv("STAMP_TRAFFIC"))
    std::ofstream(file, std::ios::app)
        << nlohmann::json{{"V", V},
                          {"D", D},
                          {"B", B},
                          {"step",
                           {{"tensor_flops", step.tensor_flops},
                            {"dense_flops", step.dense_flops},
                            {"bytes", step.bytes}}},
                          {"forward", {{"tensor_flops", forward.tensor_flops}, {"bytes", forward.bytes}}},
                          {"least",
                           {{"tensor_flops", flops},
                            {"dense_flops", dense_flops},
                            {"bytes", bytes},
                            {"forward_bytes", forward_bytes}}}}
               .dump()
        << "\n";
}
