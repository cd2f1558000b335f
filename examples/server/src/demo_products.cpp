#include "demo_products.h"

#include <algorithm>
#include <cmath>

#include "events.h"
#include "json_writer.h"

namespace server {

namespace {

constexpr int kMost = 100;  // products of an answer
constexpr std::int64_t kOffset = std::int64_t{1} << 31;

char small(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool holds(std::string_view text, std::string_view part) {
  const auto are_same = [](char a, char b) { return small(a) == small(b); };
  return std::search(text.begin(), text.end(), part.begin(), part.end(), are_same) != text.end();
}

// Rows whose id or an attribute holds the text, in the catalog's order.
std::vector<std::int32_t> rows_that_hold(std::string_view text, const stamp::Bundle& bundle) {
  const stamp::Catalog& catalog = bundle.catalog;
  const bool are_texts = catalog.kind() == stamp::Catalog::Kind::strings;
  std::vector<std::vector<bool>> held;  // by attribute and code: values are fewer than products
  for (const stamp::TextAttribute& attribute : bundle.attributes.texts()) {
    auto& values = held.emplace_back();
    for (const std::string& value : attribute.values) values.push_back(holds(value, text));
  }
  const auto is_found = [&](std::int32_t row) {
    if (are_texts ? holds(catalog.string(row), text) : holds(std::to_string(catalog.integers()[row]), text))
      return true;
    for (std::size_t a = 0; a < held.size(); ++a) {
      const std::int32_t code = bundle.attributes.texts()[a].codes[row];
      if (code != stamp::TextAttribute::kMissing && held[a][code]) return true;
    }
    return false;
  };
  std::vector<std::int32_t> rows;
  for (std::int32_t row = 0; row < catalog.size(); ++row)
    if (text.empty() || is_found(row)) rows.push_back(row);
  return rows;
}

void append_product(std::string& out, std::int32_t row, const stamp::Bundle& bundle,
                    const std::vector<stamp::NumberAttribute>& numbers) {
  JsonObject product(out);
  product.add("id", stamp::to_string(bundle.catalog.id(row)));
  product.add("clicks", bundle.counts[row]);
  JsonArray attributes(product.at("attributes"));  // no object: names are the shop's, and may be anything
  const auto add = [&](const std::string& name, const auto& value) {
    JsonObject attribute(attributes.next());
    attribute.add("name", name);
    attribute.add("value", value);
  };
  for (const stamp::TextAttribute& attribute : bundle.attributes.texts())
    if (attribute.codes[row] != stamp::TextAttribute::kMissing)
      add(attribute.name, attribute.values[attribute.codes[row]]);
  for (const stamp::NumberAttribute& attribute : numbers)
    if (!std::isnan(attribute.values[row])) add(attribute.name, attribute.values[row]);
}

void append_shop(std::string& out, const stamp::Release& release, const std::string& name, const Config& config) {
  JsonObject shop(out);
  shop.add("release", name);
  shop.add("products", release.catalog().size());
  shop.add("integerIds", release.catalog().kind() == stamp::Catalog::Kind::integers);
  shop.add("maxK", config.predict.max_k);
  shop.add("store", config.visits.store);
  shop.add("writesWantKey", !config.keys.file.empty());
  shop.add("sessionGapSeconds", config.visits.session_gap_s);
  if (!config.visits.bought_types.empty()) shop.add("boughtType", config.visits.bought_types.front());
  {
    JsonArray objectives(shop.at("objectives"));
    for (const std::string& name : release.objectives()) objectives.add(name);
  }
  JsonArray zones(shop.at("zones"));
  for (const std::string& zone : release.zones()) {
    JsonObject one(zones.next());
    one.add("zone", zone);
    one.add("k", release.list_size(zone));
  }
}

}  // namespace

DemoQuestion read_demo_products(std::string_view body, stamp::Catalog::Kind kind) {
  DemoQuestion asked;
  read_json(body, [&](const Json& document) {
    document.each_key([&](std::string_view key, const Json& value) {
      if (key == "search") {
        asked.search = value.text(0, 256);
      } else if (key == "offset") {
        asked.offset = value.integer(0, kOffset);
      } else if (key == "limit") {
        asked.limit = value.integer(1, kMost);
      } else if (key == "ids") {
        asked.ids.emplace();
        value.each_item(kMost, [&](const Json& id) { asked.ids->push_back(read_product_id(id, kind)); });
      } else {
        return false;
      }
      return true;
    });
  });
  return asked;
}

std::string demo_products_body(const DemoQuestion& asked, const stamp::Release& release, const std::string& name,
                               const Config& config) {
  const stamp::Bundle& bundle = release.bundle();
  const auto numbers = release.numbers();  // as they stand now
  std::vector<std::int32_t> rows;
  std::int64_t found, begin = 0;
  if (asked.ids) {
    for (const stamp::Id& id : *asked.ids)
      if (const std::int32_t row = bundle.catalog.find(id); row != stamp::Catalog::kUnknown) rows.push_back(row);
    found = static_cast<std::int64_t>(rows.size());
  } else {
    rows = rows_that_hold(asked.search, bundle);
    found = static_cast<std::int64_t>(rows.size());
    begin = std::min(asked.offset, found);
    const std::int64_t end = std::min(begin + asked.limit, found);
    std::ranges::partial_sort(rows, rows.begin() + end, [&](std::int32_t a, std::int32_t b) {
      return bundle.counts[a] != bundle.counts[b] ? bundle.counts[a] > bundle.counts[b] : a < b;
    });
    rows.resize(end);
  }
  std::string body;
  {
    JsonObject out(body);
    append_shop(out.at("shop"), release, name, config);
    out.add("found", found);
    JsonArray products(out.at("products"));
    for (std::int64_t i = begin; i < static_cast<std::int64_t>(rows.size()); ++i)
      append_product(products.next(), rows[i], bundle, *numbers);
  }
  return body;
}

}  // namespace server
