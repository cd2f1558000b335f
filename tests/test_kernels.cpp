// Kernels against plain loops, on awkward sizes and values, with guard bands.
#include <numeric>

#include "stamp/philox.h"
#include "tests/check.h"

using namespace stamp;

namespace {

const std::int64_t kSizes[] = {1, 31, 33, 100};

std::vector<double> product(std::int64_t N, std::int64_t in, std::int64_t out, const std::vector<float>& x,
                            const std::vector<float>& w) {
  std::vector<double> y(N * out, 0.0);
  for (std::int64_t n = 0; n < N; ++n)
    for (std::int64_t o = 0; o < out; ++o)
      for (std::int64_t i = 0; i < in; ++i) y[n * out + o] += double{x[n * in + i]} * w[o * in + i];
  return y;
}

struct Loss {
  std::vector<double> losses, d_queries, d_items;
};

Loss cross_entropy(std::int64_t B, std::int64_t D, std::int64_t V, const std::vector<float>& q,
                   const std::vector<float>& items, const std::vector<std::int32_t>& targets,
                   const std::vector<float>& weights) {
  Loss result{{}, std::vector<double>(B * D, 0.0), std::vector<double>(V * D, 0.0)};
  const auto z = product(B, D, V, q, items);
  for (std::int64_t b = 0; b < B; ++b) {
    const double top = *std::max_element(z.begin() + b * V, z.begin() + (b + 1) * V);
    double sum = 0;
    for (std::int64_t v = 0; v < V; ++v) sum += std::exp(z[b * V + v] - top);
    result.losses.push_back(top + std::log(sum) - z[b * V + targets[b]]);
    for (std::int64_t v = 0; v < V; ++v) {
      const double g = weights[b] * (std::exp(z[b * V + v] - top) / sum - (v == targets[b]));
      for (std::int64_t d = 0; d < D; ++d) {
        result.d_queries[b * D + d] += g * items[v * D + d];
        result.d_items[v * D + d] += g * q[b * D + d];
      }
    }
  }
  return result;
}

}  // namespace

TEST_CASE("check::error sees what it must") {
  const std::vector<double> expected{-1, 2, 3};
  CHECK(check::error(std::vector<double>{-1, 2, 3}, expected) == 0);
  CHECK(check::error(std::vector<double>{-1, 2, 3.3}, expected) == doctest::Approx(0.1));
  CHECK(check::error(std::vector<double>{-1, NAN, 3}, expected) == INFINITY);
  CHECK(check::error(std::vector<double>{-1, 2}, expected) == INFINITY);
}

TEST_CASE("Philox4x32-10 gives the known answers of Random123") {
  using Words = std::array<std::uint32_t, 4>;
  CHECK(philox(Words{0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox(Words{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox(Words{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("linear and its gradients") {
  for (const auto& device : check::devices())
    for (std::int64_t N : {1, 5, 31, 1023})
      for (std::int64_t in : kSizes)
        for (std::int64_t out : kSizes) {
          CAPTURE(N);
          CAPTURE(in);
          CAPTURE(out);
          const auto x = check::random(N * in, 1, 1), w = check::random(out * in, 1, 2),
                     d_y = check::random(N * out, 1, 3);
          check::Guarded y(N * out), d_x(N * in), d_w(out * in);
          device->linear(N, in, out, x.data(), w.data(), y.data(), false);
          auto expected = product(N, in, out, x, w);
          CHECK(check::error(y.values(), expected) < 1e-5);
          device->linear(N, in, out, x.data(), w.data(), y.data(), true);
          for (auto& value : expected) value *= 2;
          CHECK(check::error(y.values(), expected) < 1e-5);

          device->linear_backward(N, in, out, x.data(), w.data(), d_y.data(), d_x.data(), false, d_w.data());
          std::vector<double> expected_x(N * in, 0.0), expected_w(out * in, 0.0);
          for (std::int64_t n = 0; n < N; ++n)
            for (std::int64_t o = 0; o < out; ++o)
              for (std::int64_t i = 0; i < in; ++i) {
                expected_x[n * in + i] += double{d_y[n * out + o]} * w[o * in + i];
                expected_w[o * in + i] += double{d_y[n * out + o]} * x[n * in + i];
              }
          CHECK(check::error(d_x.values(), expected_x) < 1e-5);
          CHECK(check::error(d_w.values(), expected_w) < 1e-5);
        }
}

TEST_CASE("tanh keeps the digits of small values and saturates cleanly") {
  std::vector<float> x{0, 1e-8f, -1e-4f, 0.3f, -0.62f, 0.63f, 2, -9, 50, -90, 1e30f};
  const auto original = x;
  for (const auto& device : check::devices()) {
    auto y = original;
    device->tanh(static_cast<std::int64_t>(y.size()), y.data());
    for (std::size_t i = 0; i < y.size(); ++i)
      CHECK(std::abs(y[i] - std::tanh(double{original[i]})) <= 1e-6 * std::abs(std::tanh(double{original[i]})));
  }
}

TEST_CASE("catalog cross-entropy: losses and gradients, for any size, shift and workspace") {
  for (const auto& device : check::devices())
    for (std::int64_t D : {7, 33, 100})
      for (std::int64_t V : {1, 31, 514, 1023, 1090})
        for (float shift : {0.0f, 500.0f, -500.0f}) {
          const std::int64_t B = 9;
          CAPTURE(D);
          CAPTURE(V);
          CAPTURE(shift);
          // The last dimension adds `shift` to every score.
          auto q = check::random(B * D, 1, 4), items = check::random(V * D, 0.5, 5);
          for (std::int64_t b = 0; b < B; ++b) q[b * D + D - 1] = 1;
          for (std::int64_t v = 0; v < V; ++v) items[v * D + D - 1] = shift;
          if (V == 514) std::fill(items.begin(), items.end(), 0.25f);  // all-equal scores
          std::vector<std::int32_t> targets;
          std::vector<float> weights;
          for (std::int64_t b = 0; b < B; ++b) {
            targets.push_back(static_cast<std::int32_t>(b % 2 ? V - 1 : b * 7 % V));
            weights.push_back(b == 3 ? 0 : 0.125f);
          }
          const auto expected = cross_entropy(B, D, V, q, items, targets, weights);
          const double tolerance = shift == 0 ? 1e-5 : 2e-4;  // a score of 500 has an ulp of 3e-5
          for (std::int64_t workspace : {std::int64_t{0}, B * 513, 4 * B * 513}) {
            std::vector<float> kept(workspace);
            const CatalogCrossEntropy problem{B,
                                              D,
                                              V,
                                              q.data(),
                                              items.data(),
                                              false,
                                              targets.data(),
                                              weights.data(),
                                              workspace ? kept.data() : nullptr,
                                              workspace};
            check::Guarded losses(B), log_sums(B), d_q(B * D), d_items(V * D);
            device->catalog_cross_entropy(problem, losses.data(), log_sums.data(), d_q.data());
            const std::vector<std::int32_t> rows{0, static_cast<std::int32_t>(V - 1), 0};
            const auto row_gradients = check::random(3 * D, 0.1, 6);
            device->catalog_cross_entropy_backward(problem, log_sums.data(), 3, rows.data(), row_gradients.data(),
                                                   {.d_items = d_items.data()});
            auto with_rows = expected.d_items;
            for (std::int64_t r = 0; r < 3; ++r)
              for (std::int64_t d = 0; d < D; ++d) with_rows[rows[r] * D + d] += row_gradients[r * D + d];
            for (std::int64_t b = 0; b < B; ++b)
              CHECK(losses.values()[b] ==
                    doctest::Approx(expected.losses[b]).epsilon(1e-5).scale(1 + std::abs(shift) / 10));
            if (V > 1) {
              // The shifted dimension's gradient, Σ p shift − shift, is the rounding of Σ p times the shift.
              auto actual = d_q.values();
              auto wanted = expected.d_queries;
              for (std::int64_t b = 0; b < B && shift != 0; ++b) {
                CHECK(std::abs(actual[b * D + D - 1]) < 2e-6 * std::abs(shift));
                actual[b * D + D - 1] = 0;
                wanted[b * D + D - 1] = 0;
              }
              double scale = 0;
              for (double g : wanted) scale = std::max(scale, std::abs(g));
              if (scale > 1e-6) CHECK(check::error(actual, wanted) < tolerance);
              CHECK(check::error(d_items.values(), with_rows) < tolerance);
            }
          }
        }
}

TEST_CASE("Adam applied by the owner of a tile is Adam applied to the whole gradient") {
  constexpr std::int64_t B = 5, D = 33, V = 1090;
  const auto q = check::random(B * D, 1, 1), start = check::random(V * D, 0.5, 2);
  const std::vector<std::int32_t> targets{0, 1, 511, 512, 1089};
  const std::vector<float> weights(B, 0.2f);
  for (const auto& device : check::devices()) {
    auto fused = start, separate = start;
    std::vector<float> m1(V * D), v1(V * D), m2(V * D), v2(V * D);
    for (std::int64_t step = 1; step <= 3; ++step) {
      const AdamStep adam{.learning_rate = 0.01f,
                          .beta1 = 0.9f,
                          .beta2 = 0.999f,
                          .epsilon = 1e-8f,
                          .weight_decay = 0.1f,
                          .step = step,
                          .gradient_scale = 1};
      for (bool owner : {true, false}) {
        auto& items = owner ? fused : separate;
        const CatalogCrossEntropy problem{B,       D, V, q.data(), items.data(), false, targets.data(), weights.data(),
                                          nullptr, 0};
        std::vector<float> losses(B), log_sums(B), d_q(B * D), d_items(V * D);
        device->catalog_cross_entropy(problem, losses.data(), log_sums.data(), d_q.data());
        device->catalog_cross_entropy_backward(
            problem, log_sums.data(), 0, nullptr, nullptr,
            {owner ? nullptr : d_items.data(), items.data(), m1.data(), v1.data(), adam});
        if (!owner) device->adam(V * D, d_items.data(), items.data(), m2.data(), v2.data(), adam);
      }
    }
    CHECK(fused == separate);
    CHECK(m1 == m2);
    CHECK(v1 == v2);
  }
}

TEST_CASE("top-k is what sorting all scores gives: ties, exclusions, NaN, k beyond the catalog") {
  for (const auto& device : check::devices())
    for (std::int64_t D : {1, 7, 100})
      for (std::int64_t V : {1, 31, 65, 1023, 1090})
        for (std::int64_t B : {1, 3, 70})
          for (std::int64_t k : {1, 20, 2000}) {
            CAPTURE(D);
            CAPTURE(V);
            CAPTURE(B);
            CAPTURE(k);
            const auto q = check::random(B * D, 1, 7);
            auto items = check::random(V * D, 1, 8);
            for (std::int64_t v = 10; v < V; v += 10)  // equal rows: ties
              std::copy_n(items.begin(), D, items.begin() + v * D);
            if (V > 40) items[33 * D] = NAN;
            std::vector<std::uint64_t> bits((V + 63) / 64, 0);
            for (std::int64_t v = 0; v < V; v += 3) bits[v / 64] |= std::uint64_t{1} << (v % 64);
            std::vector<const std::uint64_t*> excluded;
            std::vector<std::int32_t> targets;
            for (std::int64_t b = 0; b < B; ++b) {
              excluded.push_back(b % 2 ? bits.data() : nullptr);
              targets.push_back(static_cast<std::int32_t>(b % 3 == 2 ? -1 : b * 11 % V));
            }
            std::vector<float> packed(Device::packed_size(V, D));
            device->pack_items(V, D, items.data(), false, packed.data());
            std::vector<std::int32_t> ids(B * k);
            std::vector<float> scores(B * k);
            std::vector<std::int64_t> above(B), tied(B);
            device->catalog_top_k({B, D, V, k, q.data(), packed.data(), excluded.data(), targets.data(), ids.data(),
                                   scores.data(), above.data(), tied.data()});

            for (std::int64_t b = 0; b < B; ++b) {
              std::vector<float> z(V);
              for (std::int64_t v = 0; v < V; ++v) {
                z[v] = 0;
                double sum = 0;
                for (std::int64_t d = 0; d < D; ++d) sum += double{q[b * D + d]} * items[v * D + d];
                z[v] = static_cast<float>(sum);
              }
              std::int64_t found = 0;
              for (; found < k && ids[b * k + found] >= 0; ++found) {
                const std::int32_t id = ids[b * k + found];
                REQUIRE(id < V);
                CHECK((excluded[b] == nullptr || id % 3 != 0));
                CHECK(scores[b * k + found] == doctest::Approx(z[id]).epsilon(1e-5).scale(1));
                if (found > 0) {
                  const float before = scores[b * k + found - 1];
                  const bool ordered = before > scores[b * k + found] ||
                                       (before == scores[b * k + found] && ids[b * k + found - 1] < id);
                  CHECK(ordered);
                }
              }
              std::vector<float> rest;  // what was not listed may not beat what was
              std::int64_t candidates = 0;
              for (std::int64_t v = 0; v < V; ++v) {
                if (std::isnan(z[v]) || (excluded[b] && v % 3 == 0)) continue;
                ++candidates;
                if (std::find(ids.begin() + b * k, ids.begin() + b * k + found, v) == ids.begin() + b * k + found)
                  rest.push_back(z[v]);
              }
              CHECK(found == std::min(k, candidates));
              for (float score : rest) CHECK(score <= scores[b * k + found - 1] + 1e-4f);

              if (targets[b] < 0 || std::isnan(z[targets[b]])) {
                CHECK(above[b] == V);
                CHECK(tied[b] == 0);
              } else {
                std::int64_t surely_above = 0, surely_not_below = -1, equal = -1;
                for (std::int64_t v = 0; v < V; ++v) {
                  surely_above += z[v] > z[targets[b]] + 1e-4f;
                  surely_not_below += z[v] >= z[targets[b]] - 1e-4f;
                  equal +=
                      std::equal(items.begin() + v * D, items.begin() + (v + 1) * D, items.begin() + targets[b] * D);
                }
                CHECK(above[b] >= surely_above);
                CHECK(above[b] + tied[b] <= surely_not_below);
                CHECK(tied[b] >= equal);
              }
            }
          }
}

TEST_CASE("every score is the same for any batch, to the bit") {
  constexpr std::int64_t B = 70, D = 100, V = 1090, k = 50;
  const auto q = check::random(B * D, 1, 9), items = check::random(V * D, 1, 10);
  for (const auto& device : check::devices()) {
    std::vector<float> packed(Device::packed_size(V, D)), together(B * k), alone(k);
    std::vector<std::int32_t> ids(B * k), id(k);
    device->pack_items(V, D, items.data(), true, packed.data());
    device->catalog_top_k(
        {B, D, V, k, q.data(), packed.data(), nullptr, nullptr, ids.data(), together.data(), nullptr, nullptr});
    for (std::int64_t b = 0; b < B; ++b) {
      device->catalog_top_k(
          {1, D, V, k, q.data() + b * D, packed.data(), nullptr, nullptr, id.data(), alone.data(), nullptr, nullptr});
      CHECK(std::equal(alone.begin(), alone.end(), together.begin() + b * k));
      CHECK(std::equal(id.begin(), id.end(), ids.begin() + b * k));
    }
  }
}
