// One model per cluster of the catalog: what a cluster trains on, and how its models together are measured.
//
// An example belongs to the cluster of its anchor, the event immediately before the target in the session. History
// outside the cluster is skipped, candidates are the cluster's products, and a target outside is not trained on and a
// miss in every evaluation. The ceiling, the share of targets inside, says how many such misses there must be.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "stamp/metrics.h"

namespace stamp {

struct ClusterExamples {
  std::int64_t examples = 0;  // whose anchor is in the cluster, whatever their target
  std::int64_t inside = 0;    // of these, whose target is in the cluster too
  double ceiling() const { return examples ? static_cast<double>(inside) / static_cast<double>(examples) : 0; }
};

struct ClusterSessions : ClusterExamples {
  Sessions sessions;
};

// What a cluster sees of `sessions`, in one pass. rows[v]: the row of product v in the cluster's own catalog, or
// Catalog::kUnknown outside; a product beyond `rows` is outside. Events outside are left out, and the event after one
// gets weight 0, as its example belongs to another cluster. With keep_misses, for evaluations, an event outside that is
// the target of an anchor inside stays, as Catalog::kUnknown. Sessions that have no example left are left out. Labels
// are those of the whole sessions: they go with their events.
STAMP_API ClusterSessions cluster_sessions(const Sessions& sessions, std::span<const std::int32_t> rows,
                                           bool keep_misses);

// The examples of every cluster, in one pass. labels[v]: the cluster of product v, 0 … clusters-1, or -1 for none.
// Throws std::invalid_argument for another label.
STAMP_API std::vector<ClusterExamples> count_cluster_examples(const Sessions& sessions,
                                                              std::span<const std::int32_t> labels,
                                                              std::int64_t clusters);

struct ClusterModel {
  std::vector<std::int32_t> rows;  // [model->V()] the row of each of its products in the whole catalog
  std::shared_ptr<const Model> model;
};

// Ranks each example by the model of the cluster of its anchor, reading what is of that cluster in its history (at most
// the last Config::history events, of each model its own). Rows, in batches and answers, are those of the whole catalog
// of V products. An anchor in no cluster has an empty list, a target outside the anchor's cluster is never listed.
// `device`: a handle on the device that all models are on. Throws std::invalid_argument where a product is in two
// clusters, or a row or the number of rows cannot be.
STAMP_API std::unique_ptr<Ranker> cluster_ranker(std::int64_t V, std::vector<ClusterModel> models,
                                                 std::shared_ptr<Device> device);

}  // namespace stamp
