// The encoder: routines of the other files, one after the other over the whole batch.
#include "kernels/cpu/cpu_device.h"

namespace stamp::cpu {

namespace {

// What encode leaves for encode_backward, and what that needs, of one buffer.
struct Activations {
  float *x, *keys, *d_keys;                                                   // [L,D]
  float *anchor, *mean, *query, *memory, *h_s, *h_t, *product;                // [B,D]; product: h_s ⊙ h_t
  float *d_product, *d_h_s, *d_h_t, *d_memory, *d_query, *d_anchor, *d_mean;  // [B,D]

  Activations(const Encoder& p, Buffer& buffer) {
    const auto aligned = [&](Index rows) { return (rows * p.D + 15) / 16 * 16; };
    const Index of_events = aligned(p.ranges.L), of_examples = aligned(p.ranges.B);
    float* next = buffer.need<float>(3 * of_events + 14 * of_examples);
    for (float** array : {&x, &keys, &d_keys}) *array = next, next += of_events;
    for (float** array : {&anchor, &mean, &query, &memory, &h_s, &h_t, &product, &d_product, &d_h_s, &d_h_t, &d_memory,
                          &d_query, &d_anchor, &d_mean})
      *array = next, next += of_examples;
  }

  SessionAttention attention(const Encoder& p) const {
    const float* residual = p.residual == Residual::mean ? mean : p.residual == Residual::anchor ? anchor : nullptr;
    return {p.ranges, p.D, x, keys, query, p.weights.w0, residual, p.normalization};
  }
};

}  // namespace

void CpuDevice::encode(const Encoder& p, float* queries) {
  const Index B = p.ranges.B, L = p.ranges.L, D = p.D;
  const auto& w = p.weights;
  const Activations a(p, encoder_);
  look_up(L, D, p.items, p.events, p.max_norm, a.x);
  if (p.dropout > 0) dropout(L * D, p.dropout, p.seed, p.step, a.x);
  session_summary(p.ranges, D, a.x, a.anchor, a.mean);

  linear(L, D, D, a.x, w.w1, a.keys, false);
  linear(B, D, D, a.anchor, w.w2, a.query, false);
  linear(B, D, D, a.mean, w.w3, a.query, true);
  if (w.attention_bias) add_bias(B, D, w.attention_bias, a.query);
  add_preferences(B, D, p.K, p.preferences, w.attention_objectives, a.query);
  session_attention(a.attention(p), a.memory);

  linear(B, D, D, a.memory, w.session_weight, a.h_s, false);
  linear(B, D, D, a.anchor, w.anchor_weight, a.h_t, false);
  add_preferences(B, D, p.K, p.preferences, w.session_objectives, a.h_s);
  add_preferences(B, D, p.K, p.preferences, w.anchor_objectives, a.h_t);
  mlp_cells(B, D, w.session_bias, w.anchor_bias, a.h_s, a.h_t, p.scale > 0 ? a.product : queries);
  if (p.scale > 0) normalize_rows(B, D, p.scale, a.product, queries);
}

void CpuDevice::encode_backward(const Encoder& p, const float* d_queries, float* d_rows, const EncoderWeights<float>& g,
                                std::span<const Parameter> parameters) {
  const Index B = p.ranges.B, L = p.ranges.L, D = p.D;
  const auto& w = p.weights;
  const Activations a(p, encoder_);
  if (p.scale > 0) normalize_rows_backward(B, D, p.scale, a.product, d_queries, a.d_product);
  mlp_cells_backward(B * D, a.h_s, a.h_t, p.scale > 0 ? a.d_product : d_queries, a.d_h_s, a.d_h_t);
  if (g.session_bias) add_bias_backward(B, D, a.d_h_s, g.session_bias);
  if (g.anchor_bias) add_bias_backward(B, D, a.d_h_t, g.anchor_bias);
  add_preferences_backward(B, D, p.K, p.preferences, a.d_h_s, g.session_objectives);
  add_preferences_backward(B, D, p.K, p.preferences, a.d_h_t, g.anchor_objectives);
  linear_backward(B, D, D, a.memory, w.session_weight, a.d_h_s, a.d_memory, false, g.session_weight);
  linear_backward(B, D, D, a.anchor, w.anchor_weight, a.d_h_t, a.d_anchor, false, g.anchor_weight);

  session_attention_backward(a.attention(p), a.d_memory, d_rows, a.d_keys, a.d_query, g.w0);
  if (g.attention_bias) add_bias_backward(B, D, a.d_query, g.attention_bias);
  add_preferences_backward(B, D, p.K, p.preferences, a.d_query, g.attention_objectives);
  linear_backward(L, D, D, a.x, w.w1, a.d_keys, d_rows, true, g.w1);
  linear_backward(B, D, D, a.anchor, w.w2, a.d_query, a.d_anchor, true, g.w2);
  linear_backward(B, D, D, a.mean, w.w3, a.d_query, a.d_mean, false, g.w3);
  if (p.residual == Residual::mean) add(B * D, a.d_memory, a.d_mean);
  if (p.residual == Residual::anchor) add(B * D, a.d_memory, a.d_anchor);

  session_summary_backward(p.ranges, D, a.d_anchor, a.d_mean, d_rows);
  if (p.dropout > 0) dropout(L * D, p.dropout, p.seed, p.step, d_rows);
  look_up_backward(L, D, p.items, p.events, p.max_norm, d_rows);
  if (!parameters.empty()) adam(parameters, p.step);
}

}  // namespace stamp::cpu
