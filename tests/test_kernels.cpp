// Kernels against plain loops, on awkward sizes and values, with guard bands: memory, rows, dense layers, elements, the
// end of a step. Sessions and the catalog have files of their own.
#include <cstring>

#include "stamp/philox.h"
#include "tests/check.h"

using namespace stamp;

namespace {

using Doubles = std::vector<double>;

const std::int64_t kSizes[] = {1, 31, 33, 100};

Doubles product(std::int64_t N, std::int64_t in, std::int64_t out, const std::vector<float>& x,
                const std::vector<float>& w) {
  Doubles y(N * out, 0.0);
  for (std::int64_t n = 0; n < N; ++n)
    for (std::int64_t o = 0; o < out; ++o)
      for (std::int64_t i = 0; i < in; ++i) y[n * out + o] += double{x[n * in + i]} * w[o * in + i];
  return y;
}

template <class X, class Y>
double dot(std::int64_t n, const X* x, const Y* y) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return sum;
}

// The gradient through y = c x / |x| with c = length.
void scaled_backward(std::int64_t D, double length, const float* x, const float* d_y, double* d_x) {
  const double squared = dot(D, x, x), along = dot(D, x, d_y) / squared;
  for (std::int64_t d = 0; d < D; ++d) d_x[d] = length / std::sqrt(squared) * (d_y[d] - x[d] * along);
}

TrainingStep read(const Array<TrainingStep>& step) { return step.download().front(); }

}  // namespace

TEST_CASE("check::error sees what it must") {
  const Doubles expected{-1, 2, 3};
  CHECK(check::error(Doubles{-1, 2, 3}, expected) == 0);
  CHECK(check::error(Doubles{-1, 2, 3.3}, expected) == doctest::Approx(0.1));
  CHECK(check::error(Doubles{-1, NAN, 3}, expected) == INFINITY);
  CHECK(check::error(Doubles{-1, 2}, expected) == INFINITY);
}

TEST_CASE("Philox4x32-10 gives the known answers of Random123") {
  using Words = std::array<std::uint32_t, 4>;
  CHECK(philox(Words{0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox(Words{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox(Words{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("memory is zeroed, aligned, copied and counted") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const auto before = device->allocations();
    Array<float> array(device, 1023);
    CHECK(device->allocations() == before + 1);
    CHECK(reinterpret_cast<std::uintptr_t>(array.data()) % 64 == 0);
    CHECK(array.download() == std::vector<float>(1023));
    const auto values = check::random(1023, 1, 1);
    array.upload(values);
    CHECK(device->allocations() == before + 1);
    CHECK(array.download() == values);
    device->zero(array.data() + 1, 1022 * sizeof(float));
    auto expected = std::vector<float>(1023);
    expected[0] = values[0];
    CHECK(array.download() == expected);
    CHECK(device->padding() >= 1);
  }
}

TEST_CASE("memory that is not there is asked for in vain, and the device works on") {
  for (const auto& device : check::devices()) {
    if (device->name() == "cpu") continue;  // which promises more than it has
    CAPTURE(device->name());
    CHECK_THROWS_WITH_AS(device->allocate(std::size_t{1} << 45), doctest::Contains("33554432 MiB were asked for"),
                         std::runtime_error);
    Array<float> array(device, 3);
    CHECK(array.download() == std::vector<float>(3));
  }
}

TEST_CASE("a recorder repeats its work on what memory holds then") {
  constexpr std::int64_t N = 33, D = 31;
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const auto recorder = device->recorder();
    Array<float> x(device, N * D), w(device, D * D), y(device, N * D), sums(device, D);
    for (unsigned round = 0; round < 4; ++round) {
      const auto new_x = check::random(N * D, 1, round), new_w = check::random(D * D, 1, 10 + round);
      x.upload(new_x);
      w.upload(new_w);
      recorder->run(1, [&] {
        device->linear(N, D, D, x.data(), w.data(), y.data(), false);
        device->add_bias_backward(N, D, y.data(), sums.data());
      });
      const auto expected = product(N, D, D, new_x, new_w);
      Doubles expected_sums(D, 0.0);
      for (std::int64_t i = 0; i < N * D; ++i) expected_sums[i % D] += expected[i];
      CHECK(check::error(y.download(), expected) < 1e-5);
      CHECK(check::error(sums.download(), expected_sums) < 1e-5);
      recorder->run(2, [&] { device->add(N * D, x.data(), y.data()); });  // another key, other work
      Doubles added = expected;
      for (std::int64_t i = 0; i < N * D; ++i) added[i] += new_x[i];
      CHECK(check::error(y.download(), added) < 1e-5);
    }
  }
}

TEST_CASE("linear and its gradients") {
  for (const auto& device : check::devices())
    for (std::int64_t N : {1, 5, 31, 1023})
      for (std::int64_t in : kSizes)
        for (std::int64_t out : kSizes) {
          CAPTURE(device->name());
          CAPTURE(N);
          CAPTURE(in);
          CAPTURE(out);
          const auto x = check::random(N * in, 1, 1), w = check::random(out * in, 1, 2),
                     d_y = check::random(N * out, 1, 3), before = check::random(N * in, 1, 4);
          const auto on_x = check::on(device, x), on_w = check::on(device, w), on_d_y = check::on(device, d_y);
          check::Guarded y(device, N * out), d_x(device, N * in), added(device, before), d_w(device, out * in);
          device->linear(N, in, out, on_x.data(), on_w.data(), y.data(), false);
          auto expected = product(N, in, out, x, w);
          CHECK(check::error(y.values(), expected) < 1e-5);
          device->linear(N, in, out, on_x.data(), on_w.data(), y.data(), true);
          for (auto& value : expected) value *= 2;
          CHECK(check::error(y.values(), expected) < 1e-5);

          Doubles expected_x(N * in, 0.0), expected_w(out * in, 0.0);
          for (std::int64_t n = 0; n < N; ++n)
            for (std::int64_t o = 0; o < out; ++o)
              for (std::int64_t i = 0; i < in; ++i) {
                expected_x[n * in + i] += double{d_y[n * out + o]} * w[o * in + i];
                expected_w[o * in + i] += double{d_y[n * out + o]} * x[n * in + i];
              }
          const auto backward = [&](float* d_x, bool accumulate) {
            device->linear_backward(N, in, out, on_x.data(), on_w.data(), on_d_y.data(), d_x, accumulate, d_w.data());
            CHECK(check::error(d_w.values(), expected_w) < 1e-5);
          };
          backward(nullptr, false);
          backward(d_x.data(), false);
          CHECK(check::error(d_x.values(), expected_x) < 1e-5);
          backward(added.data(), true);
          for (std::int64_t i = 0; i < N * in; ++i) expected_x[i] += before[i];
          CHECK(check::error(added.values(), expected_x) < 1e-5);
        }
}

TEST_CASE("a CPU's linear adds up in the order of the inputs, to the bit, for any number of rows") {
  for (const auto& device : check::devices()) {
    if (device->name() != "cpu") continue;
    // Whether products are added unrounded: a² - (a² rounded) tells. Compilers may, and an instruction set may not.
    const float a = 1.2345678f, squared = a * a;
    check::Guarded probe(device, 1);
    const auto left = check::on(device, std::vector{squared, a}), right = check::on(device, std::vector{-1.0f, a});
    device->linear(1, 2, 1, left.data(), right.data(), probe.data(), false);
    const bool fused = probe.values()[0] != 0;
    for (std::int64_t in : {1, 3, 7, 16, 33, 100, 128, 130, 300})
      for (std::int64_t out : {1, 7, 16, 33, 64, 100, 128, 300})
        for (std::int64_t N : {1, 2, 5, 64, 128, 129}) {
          if (in != out && (in > 128 || out > 128)) continue;
          CAPTURE(in);
          CAPTURE(out);
          CAPTURE(N);
          const auto x = check::random(N * in, 1, 1), w = check::random(out * in, 1, 2),
                     y = check::random(N * out, 1, 3);
          const auto on_x = check::on(device, x), on_w = check::on(device, w);
          for (bool accumulate : {false, true}) {
            std::vector<float> expected(N * out);
            for (std::int64_t i = 0; i < N * out; ++i) {
              const float* row = x.data() + i / out * in;
              const float* weights = w.data() + i % out * in;
              float sum = accumulate ? y[i] : 0;
              for (std::int64_t k = 0; k < in; ++k)
                sum = fused ? std::fma(row[k], weights[k], sum) : sum + row[k] * weights[k];
              expected[i] = sum;
            }
            check::Guarded actual(device, y);
            device->linear(N, in, out, on_x.data(), on_w.data(), actual.data(), accumulate);
            CHECK(actual.values() == expected);
          }
        }
  }
}

TEST_CASE("add_bias and its gradient") {
  for (const auto& device : check::devices())
    for (std::int64_t N : {1, 31, 1023})
      for (std::int64_t D : {1, 7, 33, 130}) {
        CAPTURE(device->name());
        CAPTURE(N);
        CAPTURE(D);
        const auto y = check::random(N * D, 1, 1), bias = check::random(D, 1, 2);
        const auto on_y = check::on(device, y), on_bias = check::on(device, bias);
        check::Guarded sum(device, y), d_bias(device, D);
        device->add_bias(N, D, on_bias.data(), sum.data());
        device->add_bias_backward(N, D, on_y.data(), d_bias.data());
        Doubles expected(y.begin(), y.end()), expected_bias(D, 0.0);
        for (std::int64_t i = 0; i < N * D; ++i) {
          expected_bias[i % D] += expected[i];
          expected[i] += bias[i % D];
        }
        CHECK(check::error(sum.values(), expected) < 1e-6);
        CHECK(check::error(d_bias.values(), expected_bias) < 1e-5);
      }
}

TEST_CASE("gather_rows: rows of any id, zeros for none, shortened where too long, and the gradient") {
  constexpr std::int64_t V = 41, N = 300;
  for (const auto& device : check::devices())
    for (std::int64_t D : {1, 7, 33, 130})
      for (float max_norm : {0.0f, 1.0f}) {
        CAPTURE(device->name());
        CAPTURE(D);
        CAPTURE(max_norm);
        auto items = check::random(V * D, 1 / std::sqrt(static_cast<double>(D)), 1);  // about half are longer than 1
        std::fill_n(items.begin() + 3 * D, D, 0.0f);
        const auto d_y = check::random(N * D, 1, 2);
        std::vector<std::int32_t> ids;
        for (std::int64_t n = 0; n < N; ++n) ids.push_back(static_cast<std::int32_t>(n % 5 == 4 ? -1 : n * 7 % V));
        const auto on_items = check::on(device, items);
        const auto on_ids = check::on(device, ids);
        check::Guarded y(device, N * D), d_x(device, d_y);
        device->gather_rows(N, D, on_items.data(), on_ids.data(), max_norm, y.data());
        device->gather_rows_backward(N, D, on_items.data(), on_ids.data(), max_norm, d_x.data());
        Doubles expected(N * D, 0.0), expected_x(d_y.begin(), d_y.end());
        for (std::int64_t n = 0; n < N; ++n) {
          if (ids[n] < 0) continue;
          const float* row = items.data() + ids[n] * D;
          const double norm = std::sqrt(dot(D, row, row));
          const bool shorten = max_norm > 0 && norm > max_norm;
          for (std::int64_t d = 0; d < D; ++d) expected[n * D + d] = row[d] * (shorten ? max_norm / norm : 1);
          if (shorten) scaled_backward(D, max_norm, row, d_y.data() + n * D, expected_x.data() + n * D);
        }
        CHECK(check::error(y.values(), expected) < 1e-6);
        CHECK(check::error(d_x.values(), expected_x) < 1e-5);
        for (std::int64_t n = 4; n < N; n += 5)
          CHECK(std::memcmp(y.values().data() + n * D, std::vector<float>(D).data(), D * sizeof(float)) == 0);
      }
}

TEST_CASE("normalize_rows and its gradient; zero rows stay zero") {
  for (const auto& device : check::devices())
    for (std::int64_t N : {1, 33, 300})
      for (std::int64_t D : {1, 7, 33, 130}) {
        CAPTURE(device->name());
        CAPTURE(N);
        CAPTURE(D);
        constexpr float kScale = 16;
        auto x = check::random(N * D, 1, 1);
        if (N > 5) std::fill_n(x.begin() + 5 * D, D, 0.0f);
        const auto d_y = check::random(N * D, 1, 2);
        const auto on_x = check::on(device, x), on_d_y = check::on(device, d_y);
        check::Guarded y(device, N * D), d_x(device, N * D);
        device->normalize_rows(N, D, kScale, on_x.data(), y.data());
        device->normalize_rows_backward(N, D, kScale, on_x.data(), on_d_y.data(), d_x.data());
        Doubles expected(N * D, 0.0), expected_x(N * D, 0.0);
        for (std::int64_t n = 0; n < N; ++n) {
          const float* row = x.data() + n * D;
          const double norm = std::sqrt(dot(D, row, row));
          if (norm == 0) continue;
          for (std::int64_t d = 0; d < D; ++d) expected[n * D + d] = kScale * row[d] / norm;
          scaled_backward(D, kScale, row, d_y.data() + n * D, expected_x.data() + n * D);
        }
        CHECK(check::error(y.values(), expected) < 1e-6);
        // Of width 1 the gradient is nothing but rounding: 16 / |x| times an ulp of d_y.
        if (D > 1) CHECK(check::error(d_x.values(), expected_x) < 1e-5);
      }
}

TEST_CASE("the tanh of cells keeps the digits of small values and saturates cleanly") {
  const std::vector<float> x{0, 1e-8f, -1e-4f, 0.3f, -0.62f, 0.63f, 2, -9, 50, -90, 1e30f};
  const auto n = static_cast<std::int64_t>(x.size());
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    check::Guarded h_s(device, x), h_t(device, x), product(device, n);
    device->mlp_cells(1, n, nullptr, nullptr, h_s.data(), h_t.data(), product.data());
    const auto y = h_s.values();
    for (std::size_t i = 0; i < x.size(); ++i)
      CHECK(std::abs(y[i] - std::tanh(double{x[i]})) <= 1e-6 * std::abs(std::tanh(double{x[i]})));
    CHECK(h_t.values() == y);
  }
}

TEST_CASE("mlp_cells and their gradients, with and without biases") {
  for (const auto& device : check::devices())
    for (std::int64_t B : {1, 31, 130})
      for (std::int64_t D : {1, 33, 100})
        for (const bool biased : {false, true}) {
          CAPTURE(device->name());
          CAPTURE(B);
          CAPTURE(D);
          const auto s = check::random(B * D, 0.5, 1), t = check::random(B * D, 0.5, 2), b_s = check::random(D, 0.5, 3),
                     b_t = check::random(D, 0.5, 4), d_y = check::random(B * D, 1, 5);
          const auto on_b_s = check::on(device, b_s), on_b_t = check::on(device, b_t), on_d_y = check::on(device, d_y);
          check::Guarded h_s(device, s), h_t(device, t), product(device, B * D), d_s(device, B * D), d_t(device, B * D);
          device->mlp_cells(B, D, biased ? on_b_s.data() : nullptr, biased ? on_b_t.data() : nullptr, h_s.data(),
                            h_t.data(), product.data());
          device->mlp_cells_backward(B * D, h_s.data(), h_t.data(), on_d_y.data(), d_s.data(), d_t.data());
          Doubles expected[5];
          for (std::int64_t i = 0; i < B * D; ++i) {
            const double hs = std::tanh(s[i] + (biased ? double{b_s[i % D]} : 0));
            const double ht = std::tanh(t[i] + (biased ? double{b_t[i % D]} : 0));
            expected[0].push_back(hs);
            expected[1].push_back(ht);
            expected[2].push_back(hs * ht);
            expected[3].push_back(d_y[i] * ht * (1 - hs * hs));
            expected[4].push_back(d_y[i] * hs * (1 - ht * ht));
          }
          int i = 0;
          for (const auto* actual : {&h_s, &h_t, &product, &d_s, &d_t})
            CHECK(check::error(actual->values(), expected[i++]) < 1e-6);
        }
}

TEST_CASE("add") {
  for (const auto& device : check::devices())
    for (std::int64_t n : {1, 31, 1023, 70'001}) {
      const auto a = check::random(n, 0.5, 1), b = check::random(n, 0.5, 2);
      const auto on_a = check::on(device, a);
      check::Guarded sum(device, b);
      device->add(n, on_a.data(), sum.data());
      Doubles expected;
      for (std::int64_t i = 0; i < n; ++i) expected.push_back(double{a[i]} + b[i]);
      CHECK(check::error(sum.values(), expected) < 1e-6);
    }
}

TEST_CASE("dropout draws the mask of seed, step and element, to the bit") {
  constexpr float kRate = 0.3f;
  constexpr std::uint64_t kSeed = 42;
  for (std::int64_t n : {1, 2, 31, 1023, 100'003}) {
    const auto x = check::random(n, 1, 1);
    for (std::int64_t number : {std::int64_t{1}, std::int64_t{7}, (std::int64_t{1} << 40) + 3}) {
      std::vector<float> expected;
      for (std::int64_t i = 0; i < n; ++i) {
        const auto words = philox(kSeed, static_cast<std::uint64_t>(number), static_cast<std::uint64_t>(i / 4));
        expected.push_back(uniform(words[i % 4]) < kRate ? 0 : x[i] * (1 / (1 - kRate)));
      }
      for (const auto& device : check::devices()) {
        CAPTURE(device->name());
        const auto step = check::on(device, std::vector<TrainingStep>{{.number = number}});
        check::Guarded y(device, x);
        device->dropout(n, kRate, kSeed, step.data(), y.data());
        CHECK(y.values() == expected);
      }
      if (n < 100'000) continue;
      const auto kept = std::count_if(expected.begin(), expected.end(), [](float value) { return value != 0; });
      CHECK(static_cast<double>(kept) / static_cast<double>(n) == doctest::Approx(0.7).epsilon(0.01));
    }
  }
}

TEST_CASE("squared_norm is exact to single precision, and the same each time") {
  for (const auto& device : check::devices())
    for (std::int64_t n : {1, 31, 1023, 100'003}) {
      CAPTURE(device->name());
      CAPTURE(n);
      auto x = check::random(n, 1, 1);
      const auto on_x = check::on(device, x);
      const double squared = device->squared_norm(n, on_x.data());
      CHECK(squared == doctest::Approx(dot(n, x.data(), x.data())).epsilon(1e-6));
      CHECK(device->squared_norm(n, on_x.data()) == squared);
      x[n / 2] = NAN;
      CHECK(std::isnan(device->squared_norm(n, check::on(device, x).data())));
    }
}

TEST_CASE("total_loss skips what has no weight, and stops what is not below the limit") {
  for (const auto& device : check::devices())
    for (std::int64_t B : {1, 33, 1023}) {
      CAPTURE(device->name());
      CAPTURE(B);
      std::vector<float> weights, losses = check::random(B, 1, 1);
      double expected = 0;
      for (std::int64_t b = 0; b < B; ++b) {
        weights.push_back(b % 3 == 1 ? 0 : 0.5f);
        if (weights[b] == 0)
          losses[b] = b % 2 ? NAN : INFINITY;
        else
          expected += double{weights[b]} * losses[b];
      }
      const auto on_weights = check::on(device, weights);
      const auto run = [&](const std::vector<float>& losses, double limit) {
        const auto on_losses = check::on(device, losses);
        auto step = check::on(device, std::vector<TrainingStep>{{.number = 5, .limit = limit, .loss = 77}});
        device->total_loss(B, on_weights.data(), on_losses.data(), step.data());
        CHECK(read(step).number == 5);
        return read(step);
      };
      const TrainingStep fine = run(losses, INFINITY);
      CHECK(fine.loss == doctest::Approx(expected).epsilon(1e-12));
      CHECK(fine.stopped == 0);
      CHECK(run(losses, std::nextafter(fine.loss, INFINITY)).stopped == 0);
      CHECK(run(losses, fine.loss).stopped == 1);  // not below
      losses[0] = INFINITY;
      CHECK(run(losses, INFINITY).stopped == 1);
      losses[0] = NAN;
      CHECK(run(losses, INFINITY).stopped == 1);
      CHECK(std::isnan(run(losses, INFINITY).loss));
    }
}

namespace {

// Tensors to be trained, on a device and as a plain loop has them.
struct Tensors {
  static constexpr std::int64_t kSizes[] = {1, 33, 1023, 70'001};

  explicit Tensors(const check::DevicePtr& device) {
    unsigned seed = 0;
    for (std::int64_t n : kSizes) {
      host.push_back(
          {check::random(n, 1, ++seed), check::random(n, 0.1, ++seed), std::vector<float>(n), std::vector<float>(n)});
      for (const auto& values : host.back()) arrays.emplace_back(device, values);
      auto* array = &arrays[arrays.size() - 4];
      parameters.push_back({n, array[0].data(), array[1].data(), array[2].data(), array[3].data()});
    }
  }

  std::vector<std::array<std::vector<float>, 4>> host;  // value, gradient, moment1, moment2
  std::vector<check::Guarded<float>> arrays;            // the same, one after another
  std::vector<Parameter> parameters;
};

}  // namespace

TEST_CASE("clip_gradient bounds the norm of all tensors together") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Tensors tensors(device);
    double squared = 0;
    for (const auto& tensor : tensors.host) squared += dot(tensor[1].size(), tensor[1].data(), tensor[1].data());
    const double length = std::sqrt(squared);
    for (double norm : {length / 3, length * 1.01, 1e30}) {
      auto step = check::on(device, std::vector<TrainingStep>{{.gradient_scale = 77}});
      device->clip_gradient(tensors.parameters, static_cast<float>(norm), step.data());
      if (norm < length)
        CHECK(read(step).gradient_scale == doctest::Approx(norm / length).epsilon(1e-6));
      else
        CHECK(read(step).gradient_scale == 1);
    }
    for (std::size_t i = 0; i < tensors.host.size(); ++i)  // it only scales, later
      CHECK(tensors.arrays[4 * i + 1].values() == tensors.host[i][1]);
  }
}

TEST_CASE("adam moves weights as a plain loop does, and not at all when stopped") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    Tensors tensors(device);
    std::vector<std::array<Doubles, 4>> expected;
    for (const auto& tensor : tensors.host) {
      expected.emplace_back();
      for (int i = 0; i < 4; ++i) expected.back()[i].assign(tensor[i].begin(), tensor[i].end());
    }
    TrainingStep step{.learning_rate = 0.01f,
                      .beta1 = 0.9f,
                      .beta2 = 0.999f,
                      .epsilon = 1e-6f,
                      .weight_decay = 0.1f,
                      .gradient_scale = 0.5f};
    for (step.number = 1; step.number <= 3; ++step.number) {
      for (auto& [value, gradient, moment1, moment2] : expected)
        for (std::size_t i = 0; i < value.size(); ++i) {
          const double g = gradient[i] * step.gradient_scale, number = static_cast<double>(step.number);
          moment1[i] = step.beta1 * moment1[i] + (1 - double{step.beta1}) * g;
          moment2[i] = step.beta2 * moment2[i] + (1 - double{step.beta2}) * g * g;
          value[i] *= 1 - double{step.learning_rate} * step.weight_decay;
          value[i] -= step.learning_rate * moment1[i] / (1 - std::pow(double{step.beta1}, number)) /
                      (std::sqrt(moment2[i] / (1 - std::pow(double{step.beta2}, number))) + step.epsilon);
        }
      device->adam(tensors.parameters, check::on(device, std::vector{step}).data());
    }
    const auto values = [&] {
      std::vector<std::vector<float>> all;
      for (const auto& array : tensors.arrays) all.push_back(array.values());
      return all;
    };
    const auto moved = values();
    for (std::size_t i = 0; i < moved.size(); ++i) CHECK(check::error(moved[i], expected[i / 4][i % 4]) < 1e-6);
    step.stopped = 1;
    device->adam(tensors.parameters, check::on(device, std::vector{step}).data());
    CHECK(values() == moved);
  }
}
