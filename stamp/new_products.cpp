#include "stamp/new_products.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

#include "stamp/clusters.h"
#include "stamp/files.h"
#include "stamp/routes.h"

namespace stamp {

namespace {

std::int32_t find_id(const Catalog& catalog, const Catalog& items, std::int32_t item) {
  return items.kind() == Catalog::Kind::integers ? catalog.find(items.integers()[item])
                                                 : catalog.find(items.string(item));
}

std::int32_t add_id(Catalog& catalog, const Catalog& items, std::int32_t item) {
  return items.kind() == Catalog::Kind::integers ? catalog.add(items.integers()[item])
                                                 : catalog.add(items.string(item));
}

// `old`, of a catalog that has grown to V products, with what `items` has of those whose rows are `rows` (-1: they keep
// what they have).
Attributes with_items(const Attributes& old, const Attributes& items, const std::vector<std::int32_t>& rows,
                      std::int64_t V) {
  const auto as = [](const std::string& name, const char* mine, const char* theirs) {
    return concat("add_products: '", name, "' is a ", theirs, " in the items, expected a ", mine,
                  " as in the bundle; name it among the ", mine[0] == 't' ? "categories" : "numbers");
  };
  Attributes attributes(V);
  for (TextAttribute text : old.texts()) {
    require(items.find_number(text.name) < 0, as(text.name, "text", "number"));
    text.codes.resize(static_cast<std::size_t>(V), TextAttribute::kMissing);
    if (const std::int32_t found = items.find_text(text.name); found >= 0) {
      const TextAttribute& more = items.texts()[found];
      std::unordered_map<std::string, std::int32_t> code_of;
      for (const std::string& value : text.values) code_of.emplace(value, static_cast<std::int32_t>(code_of.size()));
      for (std::size_t item = 0; item < rows.size(); ++item) {
        if (rows[item] < 0 || more.codes[item] == TextAttribute::kMissing) continue;
        const std::string& value = more.values[more.codes[item]];
        const auto [known, is_new] = code_of.emplace(value, static_cast<std::int32_t>(code_of.size()));
        if (is_new) text.values.push_back(value);
        text.codes[rows[item]] = known->second;
      }
    }
    attributes.add(std::move(text));
  }
  for (NumberAttribute number : old.numbers()) {
    require(items.find_text(number.name) < 0, as(number.name, "number", "text"));
    number.values.resize(static_cast<std::size_t>(V), NAN);
    if (const std::int32_t found = items.find_number(number.name); found >= 0)
      for (std::size_t item = 0; item < rows.size(); ++item)
        if (const float value = items.numbers()[found].values[item]; rows[item] >= 0 && !std::isnan(value))
          number.values[rows[item]] = value;
    attributes.add(std::move(number));
  }
  return attributes;
}

const Content& content_of(const char* call, const Cluster& cluster) {
  require(cluster.model != nullptr, call, ": the model of cluster ", cluster.id, " is not loaded");
  require(cluster.model->content() != nullptr, call, ": the model of cluster ", cluster.id,
          " was trained without content; train it with content=[names of attributes]");
  return *cluster.model->content();
}

// The cluster with further products: rows of the catalog, ascending, and rows of attributes of each.
void add(Cluster& cluster, const std::vector<std::int32_t>& rows, const Lists& attribute_rows) {
  const Content& content = *cluster.model->content();
  std::vector<std::int32_t> all(cluster.rows.size() + rows.size());
  std::merge(cluster.rows.begin(), cluster.rows.end(), rows.begin(), rows.end(), all.begin());
  std::vector<std::int32_t> places;  // of those that the model knows
  Lists lists;
  std::size_t known = 0, added = 0;
  for (std::size_t place = 0; place < all.size(); ++place) {
    const bool is_known = known < cluster.rows.size() && cluster.rows[known] == all[place];
    const auto list = is_known ? content.rows()[static_cast<std::int64_t>(known++)]
                               : attribute_rows[static_cast<std::int64_t>(added++)];
    if (is_known) places.push_back(static_cast<std::int32_t>(place));
    lists.values.insert(lists.values.end(), list.begin(), list.end());
    lists.end_list();
  }
  cluster.model = cluster.model->in_catalog(places, std::make_shared<const Content>(content.with(std::move(lists))));
  cluster.rows = std::move(all);
}

double norm(std::span<const float> values) {
  return std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0));
}

// Adds w n(q) of the examples whose targets are new to the sums [V,D] of these; false for a product without one.
std::vector<bool> add_clicks(const Model& model, const Sessions& sessions, const std::vector<bool>& is_new,
                             std::vector<double>& sums) {
  constexpr std::size_t kAtOnce = 512;
  const std::int64_t D = model.config().dim;
  std::vector<bool> clicked(is_new.size());
  std::vector<std::int64_t> targets = example_targets(sessions);
  std::erase_if(targets, [&](std::int64_t event) { return !is_new[sessions.items()[event]]; });
  Activations a(model.device());
  BatchBuilder builder(sessions, model.config().history);
  Batch batch;
  for (std::size_t from = 0; from < targets.size(); from += kAtOnce) {
    builder.build(std::span(targets).subspan(from, std::min(kAtOnce, targets.size() - from)), batch);
    a.upload(batch, model.config());
    model.forward(*model.device(), a);
    const auto queries = a.q.download();
    for (std::int64_t b = 0; b < batch.B(); ++b) {
      const auto q = std::span(queries).subspan(b * D, D);
      const double length = norm(q);
      if (!(length > 0)) continue;
      const std::int32_t v = batch.targets[b];
      clicked[v] = true;
      for (std::int64_t d = 0; d < D; ++d) sums[v * D + d] += batch.weights[b] * batch.weight * q[d] / length;
    }
  }
  return clicked;
}

// Of the data that a model was trained on, and of rows that clicks turned since, which take the place of earlier ones.
std::string fingerprint_of(const std::string& trained, std::span<const float> turned) {
  const std::string data = trained.substr(0, trained.find('+'));
  if (turned.empty()) return data;
  const std::string sum = checksum(std::as_bytes(turned));
  return concat(data, '+', sum.substr(sum.find(':') + 1));
}

}  // namespace

AddedProducts add_products(Bundle& bundle, const Catalog& items, const Attributes& attributes) {
  require(items.kind() == bundle.catalog.kind(), "add_products: ids of the items are ",
          items.kind() == Catalog::Kind::integers ? "integers, those of the bundle strings"
                                                  : "strings, those of the bundle integers");
  require(attributes.V() == items.size(), "add_products: attributes of ", attributes.V(), " products, expected ",
          items.size());
  require(!bundle.clusters.empty(), "add_products: the bundle has no model");
  require(bundle.clusters.size() == 1 || !bundle.route_by.empty(), "add_products: the bundle has ",
          bundle.clusters.size(), " clusters and routes by nothing; build it with route_by");

  AddedProducts result;
  Bundle grown = bundle;
  const auto owner = bundle.owners();
  const bool describes = !bundle.attributes.texts().empty() || !bundle.attributes.numbers().empty();
  const Lists alone = describes ? Lists() : content_of("add_products", bundle.clusters.front()).encode(attributes);
  std::vector<std::int32_t> rows(static_cast<std::size_t>(items.size()), -1);  // of what no model knows
  std::vector<std::int32_t> new_items;
  for (std::int32_t item = 0; item < items.size(); ++item) {
    const std::int32_t found = find_id(bundle.catalog, items, item);
    if (found >= 0 && owner[found] >= 0) {
      ++result.known;
    } else if (found < 0 && !describes && alone[item].empty()) {
      result.left_out.push_back(item);
    } else {
      rows[item] = found >= 0 ? found : add_id(grown.catalog, items, item);
      new_items.push_back(item);
    }
  }
  std::sort(new_items.begin(), new_items.end(), [&](std::int32_t a, std::int32_t b) { return rows[a] < rows[b]; });
  const std::int64_t V = grown.catalog.size();
  grown.counts.resize(static_cast<std::size_t>(V), 0);
  grown.attributes = with_items(bundle.attributes, attributes, rows, V);
  if (bundle.fallback && V > bundle.catalog.size()) {
    std::vector<std::int32_t> same(owner.size());
    std::iota(same.begin(), same.end(), 0);
    grown.fallback = bundle.fallback->in_catalog(same, V);
  }

  const Routes routes(grown);
  std::vector<std::vector<std::int32_t>> newcomers(grown.clusters.size());  // items, by row
  for (const std::int32_t item : new_items) {
    const std::int32_t group = routes.group[rows[item]];
    const std::int32_t home = bundle.route_by.empty() ? 0 : group < 0 ? -1 : routes.group_cluster[group];
    (home < 0 ? result.left_out : newcomers[home]).push_back(item);
  }
  for (std::size_t c = 0; c < grown.clusters.size(); ++c) {
    if (newcomers[c].empty()) continue;
    const Lists encoded = content_of("add_products", grown.clusters[c]).encode(attributes);
    std::vector<std::int32_t> added;
    Lists lists;
    for (const std::int32_t item : newcomers[c]) {
      const auto list = encoded[item];
      if (list.empty()) {
        result.left_out.push_back(item);
        continue;
      }
      added.push_back(rows[item]);
      lists.values.insert(lists.values.end(), list.begin(), list.end());
      lists.end_list();
    }
    if (!added.empty()) add(grown.clusters[c], added, lists);
    result.added += static_cast<std::int64_t>(added.size());
  }
  std::sort(result.left_out.begin(), result.left_out.end());
  bundle = std::move(grown);
  return result;
}

std::int64_t refresh_products(Bundle& bundle, const Sessions& sessions) {
  constexpr double kAttributes = 4;  // how much attributes weigh, where clicks together weigh 1 at most
  require(sessions.max_item() < bundle.catalog.size(), "refresh_products: a session holds product ",
          sessions.max_item(), ", expected rows below ", bundle.catalog.size());
  for (const Cluster& cluster : bundle.clusters) content_of("refresh_products", cluster);
  std::int64_t fitted = 0;
  for (Cluster& cluster : bundle.clusters) {
    const auto& content = cluster.model->content();
    const auto V = static_cast<std::int64_t>(cluster.rows.size()), D = cluster.model->config().dim;
    std::vector<bool> is_new(static_cast<std::size_t>(V));
    std::vector<std::int32_t> trained(static_cast<std::size_t>(V), -1);
    std::vector<std::int32_t> local(static_cast<std::size_t>(bundle.catalog.size()), Catalog::kUnknown);
    for (std::int32_t v = 0; v < V; ++v) {
      local[cluster.rows[v]] = v;
      is_new[v] = bundle.counts[cluster.rows[v]] == 0 && !content->rows()[v].empty();
      if (!is_new[v]) trained[v] = v;
    }
    if (std::find(is_new.begin(), is_new.end(), true) == is_new.end()) continue;
    auto model = cluster.model->in_catalog(trained, content);
    std::vector<double> sums(static_cast<std::size_t>(V * D));
    const auto clicked = add_clicks(*model, cluster_sessions(sessions, local, false).sessions, is_new, sums);
    auto items = model->weights().items.download();
    std::vector<float> turned;
    for (std::int64_t v = 0; v < V; ++v) {
      if (!clicked[v]) continue;
      const auto c = std::span(items).subspan(v * D, D);
      const auto sum = std::span(sums).subspan(v * D, D);
      const double length = norm(c);
      const double clicks = std::sqrt(std::inner_product(sum.begin(), sum.end(), sum.begin(), 0.0));
      for (double& value : sum) value /= std::max(1.0, clicks);
      if (length > 0)
        for (std::int64_t d = 0; d < D; ++d) sum[d] += kAttributes * c[d] / length;
      const double whole = std::sqrt(std::inner_product(sum.begin(), sum.end(), sum.begin(), 0.0));
      if (!(whole > 0)) continue;
      for (std::int64_t d = 0; d < D; ++d) c[d] = static_cast<float>(length * sum[d] / whole);
      turned.insert(turned.end(), c.begin(), c.end());
      ++fitted;
    }
    model->weights().items.upload(items);
    cluster.model = std::move(model);
    cluster.fingerprint = fingerprint_of(cluster.fingerprint, turned);
  }
  return fitted;
}

}  // namespace stamp
