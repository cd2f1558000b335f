// Flops and bytes of one training step, counted by the simulator, against the least that it can be done with
// (docs/design.md, section 5). STAMP_TRAFFIC names a file that a line of JSON is appended to, for benchmarks/report.py.
//
// Bytes are those that the kernels' threads ask device memory for, a bound on what moves: a warp whose lanes read one
// address counts it 32 times, and caches are not modelled. The sort counts none, and is no launch of ours.
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
  double tensor_flops, bytes;
  std::uint64_t launches;
};

template <class Work>
Count count(Device& device, const Work& work) {
  device.synchronize();
  simt::reset_traffic();
  const simt::Flops before = simt::flops;
  const std::uint64_t launches = simt::launches;
  work();
  device.synchronize();
  const simt::Traffic moved = simt::traffic();
  CHECK(simt::flops.gemm == before.gemm);  // nothing goes through cuBLAS
  return {static_cast<double>(simt::flops.mma - before.mma),
          static_cast<double>(moved.device_read + moved.device_written), simt::launches - launches};
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
  optimizer.step(batch, 0.001f);     // scratch memory has its size
  optimizer.enqueue(batch, 0.001f);  // and the table's bf16 copy is there
  const Count step = count(*device, [&] { optimizer.enqueue(batch, 0.001f); });

  Activations activations(device);
  activations.upload(batch, config);
  activations.prepare_backward(D);
  Weights gradients(config, V, device, false);
  const auto number = check::on(device, std::vector<TrainingStep>{{.number = 1}});
  model.forward(*device, activations, number.data());  // scratch memory has its size
  const Count encode = count(*device, [&] { model.forward(*device, activations, number.data()); });
  const Count request = count(*device, [&] { model.forward(*device, activations); });
  model.forward(*device, activations, number.data());
  activations.d_q.upload(check::random(B * D, 0.1, 2));
  const Count encode_backward = count(*device, [&] { model.backward(*device, activations, gradients, number.data()); });

  const auto queries = check::on(device, check::random(B * D, 0.1, 1));
  const auto targets = check::on(device, batch.targets);
  const auto weights = check::on(device, batch.weights);
  Array<float> losses(device, B), log_sums(device, B), d_queries(device, B * D), d_items(device, V * D);
  Array<std::byte> rounded(device, device->rounded_size(V, D));
  device->round_items(V, D, model.item_rows(), rounded.data());
  const CatalogCrossEntropy problem{.B = B,
                                    .D = D,
                                    .V = V,
                                    .queries = queries.data(),
                                    .items = model.weights().items.data(),
                                    .normalize_items = false,
                                    .targets = targets.data(),
                                    .weights = weights.data(),
                                    .workspace = nullptr,
                                    .workspace_size = 0,
                                    .rounded = rounded.data()};
  const Count forward =
      count(*device, [&] { device->catalog_cross_entropy(problem, losses.data(), log_sums.data(), d_queries.data()); });

  // The four products with the catalog; one of [D,D] with each event and four with each example, at three times
  // (forward, to the input, to the weights).
  const double flops = 8.0 * B * V * D;
  const double dense_flops = 6.0 * D * D * (static_cast<double>(batch.L()) + 4 * B);
  const double encoder_flops = encode.tensor_flops + encode_backward.tensor_flops;
  const double catalog_flops = step.tensor_flops - encoder_flops;
  // The table comes in bf16 for the loss, and again for its gradient; with both moments, to be updated and written; its
  // copy is written anew.
  const double forward_bytes = 2.0 * V * D, bytes = 30.0 * V * D;

  CHECK(catalog_flops >= flops);
  CHECK(catalog_flops < 1.2 * flops);  // D = 100 is padded to 112, V to a multiple of 128
  CHECK(forward.tensor_flops < 1.2 * flops / 2);
  CHECK(encoder_flops >= dense_flops);
  CHECK(encoder_flops < 2 * dense_flops);  // padded likewise, the weights' gradients to 128; groups of 32 events
  CHECK(encode.launches == 1);
  CHECK(request.launches == 1);
  CHECK(request.bytes < encode.bytes);  // leaves nothing for a backward pass
  CHECK(encode_backward.launches == 3);
  CHECK(step.launches == 8);  // and those of the sort
  CHECK(forward.bytes >= forward_bytes);
  // Beside the table itself: the parts of d_queries, as large as the fp32 table at this V; what all lanes of a warp ask
  // for at once.
  CHECK(forward.bytes < 8 * forward_bytes);
  const double encoder_bytes = encode.bytes + encode_backward.bytes;  // mostly weights, which each block asks for
  CHECK(encoder_bytes < 5 * B / 8 * 20.0 * D * D);
  CHECK(step.bytes - encoder_bytes < 3.2 * bytes);

  if (const char* file = std::getenv("STAMP_TRAFFIC"))
    std::ofstream(file, std::ios::app)
        << nlohmann::json{{"V", V},
                          {"D", D},
                          {"B", B},
                          {"step",
                           {{"tensor_flops", catalog_flops},
                            {"dense_flops", encoder_flops},
                            {"bytes", step.bytes},
                            {"launches", step.launches}}},
                          {"forward", {{"tensor_flops", forward.tensor_flops}, {"bytes", forward.bytes}}},
                          {"least",
                           {{"tensor_flops", flops},
                            {"dense_flops", dense_flops},
                            {"bytes", bytes},
                            {"forward_bytes", forward_bytes}}}}
               .dump()
        << "\n";
}

TEST_CASE("a top-k multiplies once, and scores little of the catalog") {
  const std::shared_ptr<Device> device(stamp_module_open(0, Precision::bf16));
  constexpr std::int64_t kQueries = 40, k = 20, W = 112, kRoundedV = (V + 63) / 64 * 64;
  const auto queries = check::on(device, check::random(kQueries * D, 1, 1));
  const auto items = check::on(device, check::random(V * D, 1, 2));
  Array<std::byte> packed(device, device->packed_size(V, D));
  device->pack_items(V, D, {items.data()}, packed.data());
  Array<std::int32_t> ids(device, kQueries * k);
  Array<float> scores(device, kQueries * k);
  const auto list = [&] {
    device->catalog_top_k({.B = kQueries,
                           .D = D,
                           .V = V,
                           .k = k,
                           .queries = queries.data(),
                           .items = {items.data()},
                           .packed = packed.data(),
                           .ids = ids.data(),
                           .scores = scores.data()});
  };
  list();  // scratch memory has its size
  const Count moved = count(*device, list);
  CHECK(moved.tensor_flops == 2.0 * 64 * kRoundedV * W);  // queries are rounded up to 64
  // A score of fp32 loads 2 D floats, of query and product: all of them would be 64 MB.
  const double all = 8.0 * kQueries * V * D;
  CHECK(moved.bytes < 0.35 * all);  // 0.26 where it was written
}
