// Kernels within a session against plain double loops: overlapping ranges of any length, guard bands.
#include "tests/check.h"

using namespace stamp;

namespace {

using Doubles = std::vector<double>;

struct Examples {
  std::vector<std::int32_t> begin, length;
  std::int64_t L;  // with some events that no example reads, as padding leaves them
};

// Prefixes of sessions of several lengths, or their last `history` events: every one of the short, every sixth of the
// long.
Examples examples(std::int32_t history) {
  Examples e{{}, {}, 0};
  for (std::int32_t session : {1, 31, 33, 2, 151}) {
    for (std::int32_t events = 1; events <= session; events += session > 100 ? 6 : 1) {
      const std::int32_t length = history ? std::min(events, history) : events;
      e.begin.push_back(static_cast<std::int32_t>(e.L) + events - length);
      e.length.push_back(length);
    }
    e.L += session;
  }
  e.L += 5;
  return e;
}

// Examples on a device.
struct Uploaded {
  Uploaded(const check::DevicePtr& device, const Examples& e)
      : begin(check::on(device, e.begin)), length(check::on(device, e.length)), L(e.L) {}
  Ranges ranges() const { return {begin.data(), length.data(), begin.size(), L}; }
  Array<std::int32_t> begin, length;
  std::int64_t L;
};

// Calls f(device, D, examples) for all of them.
template <class F>
void for_all(F&& f) {
  for (const auto& device : check::devices())
    for (std::int64_t D : {1, 7, 33, 100, 130})
      for (std::int32_t history : {0, 10}) {
        CAPTURE(device->name());
        CAPTURE(D);
        CAPTURE(history);
        f(device, D, examples(history));
      }
}

constexpr double kTolerance = 1e-5;

}  // namespace

TEST_CASE("session_summary and its gradient") {
  for_all([](const check::DevicePtr& device, std::int64_t D, const Examples& e) {
    const std::int64_t B = static_cast<std::int64_t>(e.begin.size());
    const auto x = check::random(e.L * D, 1, 1), d_anchor = check::random(B * D, 1, 2),
               d_mean = check::random(B * D, 1, 3);
    const auto on_x = check::on(device, x), on_d_anchor = check::on(device, d_anchor),
               on_d_mean = check::on(device, d_mean);
    const Uploaded uploaded(device, e);
    check::Guarded anchor(device, B * D), mean(device, B * D), d_x(device, x);
    device->session_summary(uploaded.ranges(), D, on_x.data(), anchor.data(), mean.data());
    device->session_summary_backward(uploaded.ranges(), D, on_d_anchor.data(), on_d_mean.data(), d_x.data());
    Doubles expected_anchor(B * D), expected_mean(B * D, 0.0), expected_x(x.begin(), x.end());
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t d = 0; d < D; ++d) {
        const std::int64_t last = e.begin[b] + e.length[b] - 1;
        expected_anchor[b * D + d] = x[last * D + d];
        expected_x[last * D + d] += d_anchor[b * D + d];
        for (std::int64_t i = e.begin[b]; i <= last; ++i) {
          expected_mean[b * D + d] += double{x[i * D + d]} / e.length[b];
          expected_x[i * D + d] += double{d_mean[b * D + d]} / e.length[b];
        }
      }
    CHECK(check::error(anchor.values(), expected_anchor) == 0);
    CHECK(check::error(mean.values(), expected_mean) < kTolerance);
    CHECK(check::error(d_x.values(), expected_x) < kTolerance);
  });
}

TEST_CASE("session_attention and its gradients") {
  for_all([](const check::DevicePtr& device, std::int64_t D, const Examples& e) {
    const std::int64_t B = static_cast<std::int64_t>(e.begin.size()), L = e.L;
    const auto x = check::random(L * D, 1, 1), keys = check::random(L * D, 1, 2), query = check::random(B * D, 1, 3),
               w0 = check::random(D, 1, 4), d_y = check::random(B * D, 1, 5), residual = check::random(B * D, 1, 6);
    const auto on_x = check::on(device, x), on_keys = check::on(device, keys), on_query = check::on(device, query),
               on_w0 = check::on(device, w0), on_d_y = check::on(device, d_y),
               on_residual = check::on(device, residual);
    const Uploaded uploaded(device, e);
    for (const auto normalization : {Normalization::none, Normalization::softmax}) {
      CAPTURE(static_cast<int>(normalization));
      const bool with_residual = (D + (normalization == Normalization::softmax)) % 2;
      const bool softmax = normalization == Normalization::softmax;
      const SessionAttention attention{.ranges = uploaded.ranges(),
                                       .D = D,
                                       .x = on_x.data(),
                                       .keys = on_keys.data(),
                                       .query = on_query.data(),
                                       .w0 = on_w0.data(),
                                       .residual = with_residual ? on_residual.data() : nullptr,
                                       .normalization = normalization};
      check::Guarded y(device, B * D), d_x(device, L * D), d_keys(device, L * D), d_query(device, B * D),
          d_w0(device, D);
      device->session_attention(attention, y.data());
      device->session_attention_backward(attention, on_d_y.data(), d_x.data(), d_keys.data(), d_query.data(),
                                         d_w0.data());

      Doubles expected(B * D, 0.0), expected_x(L * D, 0.0), expected_keys(L * D, 0.0), expected_query(B * D, 0.0),
          expected_w0(D, 0.0);
      for (std::int64_t b = 0; b < B; ++b) {
        const std::int64_t begin = e.begin[b], length = e.length[b];
        Doubles gates(length * D), a(length, 0.0), d_a(length, 0.0);
        for (std::int64_t i = 0; i < length; ++i)
          for (std::int64_t d = 0; d < D; ++d) {
            gates[i * D + d] = 1 / (1 + std::exp(-double{keys[(begin + i) * D + d]} - query[b * D + d]));
            a[i] += w0[d] * gates[i * D + d];
            d_a[i] += double{d_y[b * D + d]} * x[(begin + i) * D + d];
          }
        double sum = 0, mean = 0;
        for (double value : a) sum += std::exp(value);
        for (std::int64_t i = 0; i < length; ++i) {
          if (softmax) a[i] = std::exp(a[i]) / sum;
          mean += a[i] * d_a[i];
        }
        for (std::int64_t i = 0; i < length; ++i)
          for (std::int64_t d = 0; d < D; ++d) {
            const std::int64_t at = (begin + i) * D + d;
            const double through = softmax ? a[i] * (d_a[i] - mean) : d_a[i], gate = gates[i * D + d];
            expected[b * D + d] += a[i] * x[at];
            expected_x[at] += a[i] * d_y[b * D + d];
            expected_w0[d] += through * gate;
            expected_keys[at] += through * w0[d] * gate * (1 - gate);
            expected_query[b * D + d] += through * w0[d] * gate * (1 - gate);
          }
      }
      if (with_residual)
        for (std::int64_t i = 0; i < B * D; ++i) expected[i] += residual[i];
      CHECK(check::error(y.values(), expected) < kTolerance);
      CHECK(check::error(d_x.values(), expected_x) < kTolerance);
      CHECK(check::error(d_keys.values(), expected_keys) < kTolerance);
      CHECK(check::error(d_query.values(), expected_query) < kTolerance);
      CHECK(check::error(d_w0.values(), expected_w0) < kTolerance);
    }
  });
}

TEST_CASE("gradients of overlapping sessions are summed in one order") {
  const Examples e = examples(0);
  constexpr std::int64_t D = 33;
  const std::int64_t B = static_cast<std::int64_t>(e.begin.size());
  const auto x = check::random(e.L * D, 1, 1), rows = check::random(B * D, 1, 2);
  std::vector<std::vector<float>> of_cpu;
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Uploaded uploaded(device, e);
    const auto on_x = check::on(device, x), on_rows = check::on(device, rows);
    const SessionAttention attention{.ranges = uploaded.ranges(),
                                     .D = D,
                                     .x = on_x.data(),
                                     .keys = on_x.data(),
                                     .query = on_rows.data(),
                                     .w0 = on_x.data(),
                                     .residual = nullptr,
                                     .normalization = Normalization::softmax};
    const auto once = [&] {
      check::Guarded d_x(device, x), d_keys(device, e.L * D), d_query(device, B * D), d_w0(device, D);
      device->session_attention_backward(attention, on_rows.data(), d_x.data(), d_keys.data(), d_query.data(),
                                         d_w0.data());
      device->session_summary_backward(uploaded.ranges(), D, on_rows.data(), on_rows.data(), d_x.data());
      return std::vector{d_x.values(), d_keys.values(), d_query.values(), d_w0.values()};
    };
    const auto first = once();
    CHECK(once() == first);
    if (device->name() != "cpu") continue;
    if (of_cpu.empty()) of_cpu = first;
    CHECK(first == of_cpu);  // for any number of threads
  }
}
