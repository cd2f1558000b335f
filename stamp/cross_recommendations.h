// How often a model recommends products of one group to visitors who look at a product of another: what a catalog is
// split by.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "stamp/metrics.h"

namespace stamp {

// A sparse matrix of counts between groups, in order of (from, to). Only pairs that occur are here.
struct GroupPairs {
  std::vector<std::int32_t> from;  // group of the anchor, the last known event before a target
  std::vector<std::int32_t> to;    // group of what was recommended, or clicked
  std::vector<std::int64_t> counts;
  std::int64_t examples = 0;  // that were looked at
};

struct CrossOptions {
  std::int64_t k = 20;            // recommendations an example; all products when the catalog is smaller
  std::int64_t max_examples = 0;  // evenly spread over all, the same in each run; 0: all
  std::int64_t history = 0;       // at most so many last events are read; 0: all
  std::int64_t batch = 512;
};

// An example is an event with a known event before it; events outside the ranker's catalog are skipped in histories.
// groups[v] is the group of product v, or -1: pairs without a group on either side are not counted. progress(done, all)
// counts examples and may be empty; where it returns false, what was counted so far comes back.
//
// Bound by the ranker's top-k, 2·V·D flops an example; counting is a sort of k pairs an example, on one core. Memory:
// at most 64 bytes for each pair that occurs, and 24 MiB. Throws std::invalid_argument when an option or a group cannot
// be.
STAMP_API GroupPairs cross_recommendations(Ranker& ranker, const Sessions& sessions,
                                           std::span<const std::int32_t> groups, const CrossOptions& options,
                                           const std::function<bool(std::int64_t, std::int64_t)>& progress = {});

// The same for what visitors did: pairs (group of the anchor, group of the target), over all examples. One pass.
STAMP_API GroupPairs group_transitions(const Sessions& sessions, std::span<const std::int32_t> groups);

}  // namespace stamp
