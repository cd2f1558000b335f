// Kernels against plain loops, on awkward sizes and values, with guard bands: memory, rows, the end of a step. The
// encoder and the catalog have files of their own.
#include <cstring>

#include "stamp/philox.h"
#include "tests/check.h"

using namespace stamp;

namespace {

using Doubles = std::vector<double>;

template <class X, class Y>
double dot(std::int64_t n, const X* x, const Y* y) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return sum;
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
  constexpr std::int64_t V = 31, N = 33, D = 7;
  std::vector<std::int32_t> ids(N);
  for (std::int64_t n = 0; n < N; ++n) ids[n] = static_cast<std::int32_t>(n * 5 % V);
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const auto recorder = device->recorder();
    const auto on_ids = check::on(device, ids);
    Array<float> items(device, V * D), rows(device, N * D), again(device, N * D);
    for (unsigned round = 0; round < 4; ++round) {
      const auto values = check::random(V * D, 1, round);
      items.upload(values);
      recorder->run(1, [&] {
        device->gather_rows(N, D, items.data(), on_ids.data(), rows.data());
        device->gather_rows(N, D, rows.data(), on_ids.data(), again.data());
      });
      const auto row = [&](const std::vector<float>& of, std::int32_t n) {
        return std::vector<float>(of.begin() + n * D, of.begin() + (n + 1) * D);
      };
      for (std::int32_t n = 0; n < N; ++n) {
        CHECK(row(rows.download(), n) == row(values, ids[n]));
        CHECK(row(again.download(), n) == row(values, ids[ids[n]]));
      }
      recorder->run(2, [&] { device->gather_rows(1, D, items.data(), on_ids.data(), again.data()); });  // other work
      CHECK(row(again.download(), 0) == row(values, 0));
    }
  }
}

TEST_CASE("gather_rows") {
  constexpr std::int64_t V = 41, N = 300;
  for (const auto& device : check::devices())
    for (std::int64_t D : {1, 7, 33, 130}) {
      CAPTURE(device->name());
      CAPTURE(D);
      const auto items = check::random(V * D, 1, 1);
      std::vector<std::int32_t> ids;
      std::vector<float> expected;
      for (std::int64_t n = 0; n < N; ++n) {
        ids.push_back(static_cast<std::int32_t>(n * 7 % V));
        expected.insert(expected.end(), items.begin() + ids.back() * D, items.begin() + (ids.back() + 1) * D);
      }
      const auto on_items = check::on(device, items);
      const auto on_ids = check::on(device, ids);
      check::Guarded y(device, N * D);
      device->gather_rows(N, D, on_items.data(), on_ids.data(), y.data());
      CHECK(y.values() == expected);
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
