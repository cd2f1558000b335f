// Products that come after training: rows, clusters, attributes, what stays, first clicks.
#include <cmath>
#include <numeric>

#include "stamp/new_products.h"
#include "stamp/release.h"
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

using Texts = std::vector<std::string>;  // empty: missing

TextAttribute text_of(const std::string& name, const Texts& texts) {
  TextAttribute text{.name = name, .values = {}, .codes = {}};
  for (const std::string& value : texts) {
    if (!value.empty() && text.find(value) < 0) text.values.push_back(value);
    text.codes.push_back(value.empty() ? TextAttribute::kMissing : text.find(value));
  }
  return text;
}

Attributes attributes_of(const Texts& category, const Texts& brand, const std::vector<float>& price) {
  Attributes attributes(static_cast<std::int64_t>(category.size()));
  attributes.add(text_of("category", category));
  attributes.add(text_of("brand", brand));
  attributes.add(NumberAttribute{.name = "price", .values = price});
  return attributes;
}

// Of the products `rows` alone.
Attributes of_rows(const Attributes& whole, const std::vector<std::int32_t>& rows) {
  Attributes part(static_cast<std::int64_t>(rows.size()));
  for (TextAttribute text : whole.texts()) {
    const auto codes = std::move(text.codes);
    text.codes.clear();
    for (std::int32_t row : rows) text.codes.push_back(codes[row]);
    part.add(std::move(text));
  }
  for (NumberAttribute number : whole.numbers()) {
    const auto values = std::move(number.values);
    number.values.clear();
    for (std::int32_t row : rows) number.values.push_back(values[row]);
    part.add(std::move(number));
  }
  return part;
}

Config config_of(std::uint64_t seed) {
  Config config = Config::preset("tuned");
  config.dim = 7;
  config.seed = seed;
  config.weight_std = 0.5f;
  config.content = {"brand", "price"};
  config.content_bins = 2;
  return config;
}

// Seven products, of which two models know five: shirts and shoes. 'sold out' and 'box' are in no cluster.
const std::vector<std::string> kIds{"shirt", "sold out", "shoe", "blouse", "boot", "box", "jumper"};

Bundle shop() {
  Catalog catalog(Catalog::Kind::strings);
  for (const std::string& id : kIds) catalog.add(std::string_view(id));
  Bundle bundle{.catalog = catalog, .counts = {5, 0, 4, 3, 2, 0, 1}, .attributes = Attributes(7), .clusters = {}};
  bundle.attributes = attributes_of({"tops", "", "feet", "tops", "feet", "boxes", "tops"},
                                    {"a", "a", "b", "b", "a", "", ""}, {10, 11, 50, 20, NAN, 1, 30});
  bundle.route_by = {"category"};
  const std::vector<std::int32_t> tops{0, 3, 6}, feet{2, 4};
  for (const auto& [id, rows] : {std::pair(4, tops), std::pair(9, feet)}) {
    const Config config = config_of(static_cast<std::uint64_t>(id));
    const auto content =
        std::make_shared<Content>(Content::of(of_rows(bundle.attributes, rows), config.content, config.content_bins));
    const auto V = static_cast<std::int64_t>(rows.size());
    auto model = std::make_shared<Model>(config, V, open_device("cpu"), content);
    std::vector<float> items = model->weights().items.download();
    for (std::size_t i = 0; i < items.size(); ++i) items[i] += 0.01f * static_cast<float>(i % 5);  // differences
    model->weights().items.upload(items);
    model->set_floors(std::vector<float>(model->repeat_floors().size(), 1), {2, 1, 0, 9, 8});
    model->set_successors(std::make_shared<Successors>(Sessions({0, 1, 1, 2}, {0, 2, 4}), V, 50, 2));
    REQUIRE(model->successors()->rows(0, 2).empty() == (id == 9));  // there are but two, one step from each other
    bundle.clusters.push_back({.id = id, .rows = rows, .model = model, .config = config});
  }
  bundle.validate();
  return bundle;
}

Catalog ids(const std::vector<std::string>& names) {
  Catalog catalog(Catalog::Kind::strings);
  for (const std::string& name : names) catalog.add(std::string_view(name));
  return catalog;
}

std::vector<float> row_of(const Bundle& bundle, std::size_t cluster, const std::string& id) {
  const auto& [rows, model] = std::pair(bundle.clusters[cluster].rows, bundle.clusters[cluster].model);
  const auto at = std::find(rows.begin(), rows.end(), bundle.catalog.find(std::string_view(id)));
  REQUIRE(at != rows.end());
  const auto items = model->weights().items.download();
  const std::int64_t D = model->config().dim;
  const auto first = items.begin() + (at - rows.begin()) * D;
  return {first, first + D};
}

// Σ of the rows of these attributes: values of brands, and places of the bins of prices.
std::vector<float> sum_of(const Bundle& bundle, std::size_t cluster, const std::string& brand, int bin) {
  const Model& model = *bundle.clusters[cluster].model;
  const auto rows = model.weights().attribute_rows.download();
  std::vector<float> sum(static_cast<std::size_t>(model.config().dim));
  const auto add = [&](std::int64_t row) {
    for (std::size_t d = 0; d < sum.size(); ++d) sum[d] += rows[row * sum.size() + d];
  };
  for (const Content::Column& column : model.content()->columns())
    if (column.name == "brand" && !brand.empty())
      add(column.first + (std::find(column.values.begin(), column.values.end(), brand) - column.values.begin()));
    else if (column.name == "price" && bin >= 0)
      add(column.first + bin);
  return sum;
}

std::vector<std::string> listed(const Bundle& bundle, const std::string& anchor) {
  const std::vector<std::int32_t> events{bundle.catalog.find(std::string_view(anchor))};
  const Listing listing = Release(bundle).list({.events = events, .k = 20, .popular = false});
  std::vector<std::string> names;
  for (std::int32_t row : listing.items) names.push_back(std::string(bundle.catalog.string(row)));
  return names;
}

}  // namespace

TEST_CASE("new products begin as the sum of their attributes' rows, in the cluster that they are routed to") {
  const Bundle before = shop();
  Bundle bundle = before;
  // Of 'sold out' nothing but the id was known to a model; 'shirt' is one's already; 'odd' has no attribute that says
  // anything to its cluster, 'lost' no category.
  const Catalog items = ids({"new top", "shirt", "sandal", "odd", "lost", "sold out"});
  const AddedProducts found =
      add_products(bundle, items,
                   attributes_of({"tops", "feet", "feet", "feet", "", "tops"},
                                 {"b", "b", "nobody's", "nobody's", "a", ""}, {12, 1, 100, NAN, 1, 15}));
  bundle.validate();
  CHECK(found.added == 3);
  CHECK(found.known == 1);
  CHECK(found.left_out == std::vector<std::int32_t>{3, 4});
  CHECK(bundle.clusters[0].rows == std::vector<std::int32_t>{0, 1, 3, 6, 7});
  CHECK(bundle.clusters[1].rows == std::vector<std::int32_t>{2, 4, 8});

  CHECK(row_of(bundle, 0, "new top") == sum_of(before, 0, "b", 0));  // bins from 10 and from 20
  CHECK(row_of(bundle, 0, "sold out") == sum_of(before, 0, "", 0));
  CHECK(row_of(bundle, 1, "sandal") == sum_of(before, 1, "", 0));  // one price: one bin
  for (std::size_t c : {0, 1})
    for (std::int32_t row : before.clusters[c].rows)
      CHECK(row_of(bundle, c, std::string(before.catalog.string(row))) ==
            row_of(before, c, std::string(before.catalog.string(row))));

  CHECK(bundle.counts == std::vector<std::int64_t>{5, 0, 4, 3, 2, 0, 1, 0, 0, 0, 0});
  CHECK(bundle.catalog.find(std::string_view("odd")) == 9);
  const TextAttribute& brand = bundle.attributes.texts()[bundle.attributes.find_text("brand")];
  CHECK(brand.values[brand.codes[8]] == "nobody's");
  CHECK(brand.values[brand.codes[0]] == "a");  // known products keep theirs
  CHECK(brand.values[brand.codes[1]] == "a");  // and so do others of what is missing now
  const TextAttribute& category = bundle.attributes.texts()[bundle.attributes.find_text("category")];
  CHECK(category.values[category.codes[1]] == "tops");
  CHECK(category.codes[10] == TextAttribute::kMissing);
}

TEST_CASE("new products are listed like all others, and all others as they were") {
  const Bundle before = shop();
  Bundle bundle = before;
  add_products(bundle, ids({"new top", "sold out"}), attributes_of({"tops", "tops"}, {"b", "a"}, {12, 10}));
  // From new products to others and back, over the whole cluster.
  for (const char* anchor : {"shirt", "new top", "sold out"}) {
    auto names = listed(bundle, anchor);
    std::sort(names.begin(), names.end());
    CHECK(names == std::vector<std::string>{"blouse", "jumper", "new top", "shirt", "sold out"});
  }
  auto names = listed(bundle, "blouse");
  std::erase_if(names, [](const std::string& name) { return name == "new top" || name == "sold out"; });
  CHECK(names == listed(before, "blouse"));  // floors and successors are where they were
  CHECK(listed(bundle, "shoe") == listed(before, "shoe"));

  const check::Folder folder;
  save_bundle(folder / "bundle", bundle, {.scan_tables = true});
  Bundle loaded = load_bundle(folder / "bundle", open_device("cpu"));
  CHECK(listed(loaded, "new top") == listed(bundle, "new top"));
  const AddedProducts again =
      add_products(loaded, ids({"new top", "newest"}), attributes_of({"tops", "tops"}, {"b", "b"}, {12, 12}));
  CHECK(again.known == 1);
  CHECK(again.added == 1);
  CHECK(row_of(loaded, 0, "newest") == row_of(bundle, 0, "new top"));
}

TEST_CASE("what cannot be added is refused, and changes nothing") {
  Bundle bundle = shop();
  const Attributes one = attributes_of({"tops"}, {"a"}, {10});
  const auto refused = [&](const char* message, const Catalog& items, const Attributes& attributes) {
    CHECK_THROWS_WITH_AS(add_products(bundle, items, attributes), message, std::invalid_argument);
    CHECK(bundle.catalog.size() == 7);
    CHECK(bundle.clusters[0].rows.size() == 3);
  };
  Catalog numbers;
  numbers.add(7);
  refused("add_products: ids of the items are integers, those of the bundle strings", numbers, one);
  refused("add_products: attributes of 1 products, expected 2", ids({"x", "y"}), one);
  Attributes priced(1);
  priced.add(text_of("price", {"10.0"}));
  refused("add_products: 'price' is a text in the items, expected a number as in the bundle; name it among the numbers",
          ids({"x"}), priced);
  bundle.route_by.clear();
  refused("add_products: the bundle has 2 clusters and routes by nothing; build it with route_by", ids({"x"}), one);
  bundle.route_by = {"category"};
  Config plain = config_of(4);
  plain.content.clear();
  bundle.clusters[0].model = std::make_shared<Model>(plain, 3, open_device("cpu"));
  refused(
      "add_products: the model of cluster 4 was trained without content; train it with content=[names of attributes]",
      ids({"x"}), one);
  CHECK_THROWS_AS(refresh_products(bundle, Sessions({0, 1}, {0, 2})), std::invalid_argument);
  bundle.clusters[0].model = nullptr;
  refused("add_products: the model of cluster 4 is not loaded", ids({"x"}), one);
}

TEST_CASE("a bundle of one model without attributes takes what its model can tell apart, and nothing else") {
  const Bundle whole = shop();
  Catalog catalog(Catalog::Kind::strings);
  for (std::int32_t row : whole.clusters[0].rows) catalog.add(whole.catalog.string(row));
  Bundle bundle = bundle_of(whole.clusters[0].model, catalog, {5, 3, 1});
  const AddedProducts found =
      add_products(bundle, ids({"odd", "new top"}), attributes_of({"", ""}, {"nobody's", "b"}, {NAN, 12}));
  bundle.validate();
  CHECK(found.left_out == std::vector<std::int32_t>{0});
  CHECK(bundle.catalog.size() == 4);
  CHECK(bundle.clusters[0].rows.size() == 4);
  CHECK(row_of(bundle, 0, "new top") == sum_of(whole, 0, "b", 0));
}

TEST_CASE("first clicks turn the rows of new products, and of none else") {
  Bundle added = shop();
  add_products(added, ids({"new top", "silent"}), attributes_of({"tops", "tops"}, {"b", "b"}, {12, 30}));
  // Cluster 4 has rows 0, 3, 6, 7 ('new top'), 8. Clicks on 'new top' after a shirt, after two tops, and, of a weight,
  // after itself; shoes before it are of another cluster, and so is what follows them.
  const Sessions sessions({0, 7, 0, 3, 7, 2, 7, 7, 0, 8}, {0, 2, 5, 8, 10}, {}, {1, 1, 1, 1, 1, 1, 1, 0.5f, 1, 0});
  added.clusters[0].fingerprint = "12ab";
  added.clusters[1].fingerprint = "34cd";
  Bundle bundle = added;
  CHECK(refresh_products(bundle, sessions) == 1);
  const std::string turned = bundle.clusters[0].fingerprint;
  CHECK(turned.size() == 4 + 1 + 16);
  CHECK(turned.starts_with("12ab+"));
  CHECK(bundle.clusters[1].fingerprint == "34cd");  // of which no new product was clicked
  CHECK(row_of(bundle, 0, "silent") == row_of(added, 0, "silent"));
  for (const char* id : {"shirt", "blouse", "jumper"}) CHECK(row_of(bundle, 0, id) == row_of(added, 0, id));
  for (const char* id : {"shoe", "boot"}) CHECK(row_of(bundle, 1, id) == row_of(added, 1, id));

  const auto c = row_of(added, 0, "new top");
  const auto normalized = [](const auto& values) {
    double squares = 0;
    for (double value : values) squares += value * value;
    reference::Vector result;
    for (double value : values) result.push_back(value / std::sqrt(squares));
    return std::pair(result, std::sqrt(squares));
  };
  const auto [attributes, length] = normalized(c);
  reference::Vector clicks(c.size());
  const Model& model = *added.clusters[0].model;
  for (const auto& [history, weight] :
       {std::pair(std::vector<std::int32_t>{0}, 1.0), {{0, 1}, 1.0}, {{3}, 0.5}}) {  // rows of the model
    reference::Case example{model.config(), model.V(), {}, {}, {}, {}};
    for (auto& [name, values] : model.download()) example.weights[name].assign(values.begin(), values.end());
    example.batch.add_history(history);
    const auto q = normalized(reference::run(example).q[0]).first;
    for (std::size_t d = 0; d < q.size(); ++d) clicks[d] += weight * q[d];
  }
  reference::Vector sum;
  for (std::size_t d = 0; d < c.size(); ++d)
    sum.push_back(4 * attributes[d] + clicks[d] / std::max(1.0, normalized(clicks).second));
  const auto direction = normalized(sum).first;
  const auto fitted = row_of(bundle, 0, "new top");
  for (std::size_t d = 0; d < direction.size(); ++d)
    CHECK(fitted[d] == doctest::Approx(length * direction[d]).epsilon(1e-4));

  // The same again from there; and nothing where nothing was clicked.
  Bundle again = bundle;
  CHECK(refresh_products(again, sessions) == 1);
  CHECK(row_of(again, 0, "new top") == fitted);
  CHECK(again.clusters[0].fingerprint == turned);
  CHECK(refresh_products(again, Sessions({0, 3}, {0, 2})) == 0);
  CHECK(again.clusters[0].fingerprint == "12ab");
  CHECK(row_of(again, 0, "new top") == c);
  // Clicks elsewhere are other sessions, and turn nothing here; other clicks here turn other rows.
  refresh_products(again, Sessions({0, 7, 0, 3, 7, 2, 7, 7, 0, 8, 1, 2}, {0, 2, 5, 8, 10, 12}, {},
                                   {1, 1, 1, 1, 1, 1, 1, 0.5f, 1, 0, 1, 1}));
  CHECK(again.clusters[0].fingerprint == turned);
  refresh_products(again, Sessions({0, 7}, {0, 2}));
  CHECK(again.clusters[0].fingerprint.starts_with("12ab+"));
  CHECK(again.clusters[0].fingerprint != turned);
  CHECK_THROWS_WITH_AS(refresh_products(again, Sessions({0, 9}, {0, 2})),
                       "refresh_products: a session holds product 9, expected rows below 9", std::invalid_argument);
}
