// What the sources of Release share: a model that is ready to scan, and a query on its way.
#pragma once

#include <memory>
#include <vector>

#include "stamp/release.h"

namespace stamp {

// "price, stock", or "none".
std::string number_names(const Attributes& attributes);

struct Release::Loaded {
  Loaded(std::shared_ptr<const Model> model, std::shared_ptr<const Shelf> shelf, std::vector<std::int32_t> candidates,
         const ScanOptions& options, std::shared_ptr<std::byte> packed)
      : shelves(std::move(shelf)), scanner(std::move(model), std::move(candidates), options, std::move(packed)) {
    // Which all versions share.
    for (const auto& [zone, fixed] : shelves.latest()->fixed) scanner.keep(fixed.boosts());
    for (const auto& [zone, row] : shelves.latest()->with_terms) scanner.keep(row.first());
  }

  mutable Shelves shelves;
  Scanner scanner;
};

struct Release::Job {
  const Query* query;
  Route route;
  std::int64_t unknown;
  std::shared_ptr<const Loaded> loaded;  // null where no model answers
  std::shared_ptr<const std::vector<NumberAttribute>> numbers;
  std::shared_ptr<const Shelf> shelf;
  std::vector<std::int32_t> history;  // rows of the model, or of the catalog for the fallback
  std::span<const float> preference;  // of the model's objectives: the zone's, or
  std::vector<float> own_preference;  // that of the query
  PlaceSet outside;                   // the places that are in another group, or that the fallback does not score
  std::vector<RuleSource> rules;
  SelectionProblem problem;
  Selection selection;
  std::vector<Scored> list;

  ScoredProducts scored;  // what the fallback says of this history,
  std::vector<std::int32_t> scored_rows;
  std::vector<float> scored_scores;

  void let_go() {  // of what others may want to be rid of
    loaded.reset();
    numbers.reset();
    shelf.reset();
  }

  ScanRequest scan(std::int64_t n, const PlaceSet& excluded, std::span<const float> boosts,
                   std::vector<Scored>& found) {
    return {.history = history,
            .n = n,
            .excluded = &excluded,
            .boosts = boosts,
            .list = &found,
            .preference = preference,
            .alone = query->alone};
  }
};

struct Release::Room {
  std::unique_ptr<Baseline::Scratch> scratch;  // of the fallback
  std::vector<std::int32_t> places, best;      // what a scan may list,
  std::vector<float> scores;
};

}  // namespace stamp
