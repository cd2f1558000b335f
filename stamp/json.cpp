// Configurations and results as JSON.
#include <algorithm>
#include <array>

#include "stamp/internal/json.h"
#include "stamp/item_rules.h"
#include "stamp/popularity.h"
#include "stamp/session_knn.h"
#include "stamp/trainer.h"

namespace stamp {

namespace {

template <class E, std::size_t n>
using Names = std::array<std::pair<E, const char*>, n>;

// The values of each enumeration by name.
constexpr auto names(Residual) {
  return Names<Residual, 3>{{{Residual::none, "none"}, {Residual::mean, "mean"}, {Residual::anchor, "anchor"}}};
}
constexpr auto names(Score) { return Names<Score, 2>{{{Score::dot, "dot"}, {Score::cosine, "cosine"}}}; }
constexpr auto names(Normalization) {
  return Names<Normalization, 2>{{{Normalization::none, "none"}, {Normalization::softmax, "softmax"}}};
}
constexpr auto names(Schedule) {
  return Names<Schedule, 3>{
      {{Schedule::constant, "constant"}, {Schedule::linear, "linear"}, {Schedule::cosine, "cosine"}}};
}
constexpr auto names(Decay) {
  return Names<Decay, 5>{{{Decay::same, "same"},
                          {Decay::div, "div"},
                          {Decay::linear, "linear"},
                          {Decay::log, "log"},
                          {Decay::quadratic, "quadratic"}}};
}
constexpr auto names(SessionSimilarity) {
  return Names<SessionSimilarity, 2>{{{SessionSimilarity::dot, "dot"}, {SessionSimilarity::cosine, "cosine"}}};
}
constexpr auto names(Idf) {
  return Names<Idf, 3>{{{Idf::none, "none"}, {Idf::multiply, "multiply"}, {Idf::add, "add"}}};
}

// The options of a configuration by name: visit(name, field) for each.
template <class C, class F>
void visit_config(C& c, F&& visit) {
  visit("dim", c.dim);
  visit("residual", c.residual);
  visit("normalization", c.normalization);
  visit("attention_bias", c.attention_bias);
  visit("mlp_bias", c.mlp_bias);
  visit("max_norm", c.max_norm);
  visit("score", c.score);
  visit("scale", c.scale);
  visit("repeat_floors", c.repeat_floors);
  visit("successor_floors", c.successor_floors);
  visit("second_floors", c.second_floors);
  visit("successors", c.successors);
  visit("dropout", c.dropout);
  visit("objectives", c.objectives);
  visit("content", c.content);
  visit("content_bins", c.content_bins);
  visit("difference_bound", c.difference_bound);
  visit("difference_dropout", c.difference_dropout);
  visit("history", c.history);
  visit("item_std", c.item_std);
  visit("weight_std", c.weight_std);
  visit("seed", c.seed);
}

template <class C, class F>
void visit_train_config(C& c, F&& visit) {
  visit("epochs", c.epochs);
  visit("batch_size", c.batch_size);
  visit("learning_rate", c.optimizer.learning_rate);
  visit("beta1", c.optimizer.beta1);
  visit("beta2", c.optimizer.beta2);
  visit("epsilon", c.optimizer.epsilon);
  visit("weight_decay", c.optimizer.weight_decay);
  visit("clip_norm", c.optimizer.clip_norm);
  visit("schedule", c.optimizer.schedule);
  visit("decay", c.optimizer.decay);
  visit("warmup", c.optimizer.warmup);
  visit("workspace_bytes", c.optimizer.workspace_bytes);
  visit("min_history", c.min_history);
  visit("oldest_weight", c.oldest_weight);
  visit("calibration", c.calibration);
  visit("patience", c.patience);
  visit("monitor", c.monitor);
  visit("checkpoint_seconds", c.checkpoint_seconds);
}

template <class O, class F>
void visit_options(O& o, F&& visit) {
  if constexpr (std::is_same_v<std::remove_const_t<O>, PopularityOptions>) {
    visit("by", o.by);
    visit("recent", o.recent);
    visit("half_life", o.half_life);
  } else if constexpr (std::is_same_v<std::remove_const_t<O>, SessionKnnOptions>) {
    visit("neighbours", o.neighbours);
    visit("sample", o.sample);
    visit("similarity", o.similarity);
    visit("weighting", o.weighting);
    visit("score_weighting", o.score_weighting);
    visit("idf", o.idf);
    visit("idf_weight", o.idf_weight);
    visit("history", o.history);
    visit("remind", o.remind);
  } else {
    if constexpr (std::is_same_v<std::remove_const_t<O>, SequentialRuleOptions>) {
      visit("steps", o.steps);
      visit("weighting", o.weighting);
    }
    if constexpr (std::is_same_v<std::remove_const_t<O>, ItemKnnOptions>) {
      visit("shrinkage", o.shrinkage);
      visit("alpha", o.alpha);
      visit("significance", o.significance);
    }
    visit("per_item", o.per_item);
    visit("history", o.history);
    visit("decay", o.decay);
  }
}

// Floats as the shortest decimal that reads back the same, not as their double.
template <class T>
Json encode(const T& value) {
  if constexpr (std::is_same_v<T, float>) {
    std::ostringstream text;
    text.precision(9);
    for (int digits = 6; digits <= 9; ++digits) {
      text.str("");
      text.precision(digits);
      text << value;
      if (std::stof(text.str()) == value) break;
    }
    return std::stod(text.str());
  } else if constexpr (std::is_enum_v<T>) {
    for (const auto& [known, name] : names(value))
      if (known == value) return name;
    fail("enumeration value ", static_cast<int>(value), " has no name");
  } else {
    return value;
  }
}

template <class T>
void decode(const std::string& name, const Json& value, T& field) {
  const auto wrong = [&] {
    return std::invalid_argument(concat("option '", name, "' is ", value.dump(), ", which is not one of its values (",
                                        encode(field).dump(), " is its default)"));
  };
  if constexpr (std::is_enum_v<T>) {
    for (const auto& [known, text] : names(field))
      if (value == text) {
        field = known;
        return;
      }
    throw wrong();
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    try {
      T texts;
      for (const Json& text : value.elements()) texts.push_back(text.text());
      field = std::move(texts);
    } catch (const JsonError&) {
      throw wrong();
    }
  } else {
    if (std::is_integral_v<T> && !std::is_same_v<T, bool> && !value.is_integer()) throw wrong();  // 5.0, say
    try {
      field = value.get<T>();
    } catch (const JsonError&) {
      throw wrong();
    }
  }
}

Json parse(const std::string& text) {
  try {
    Json json = Json::parse(text);
    require(json.is_object(), "a configuration is '", text, "', expected a JSON object");
    return json;
  } catch (const JsonError& error) {
    throw std::invalid_argument(concat("a configuration is not JSON: ", error.what()));
  }
}

template <class C, class Visit>
C read(const std::string& text, C config, Visit&& visit) {
  Json json = parse(text);
  std::string names;
  visit(config, [&](const std::string& name, auto& field) {
    names += (names.empty() ? "" : ", ") + name;
    if (const Json* found = json.find(name)) {
      decode(name, *found, field);
      json.erase(name);
    }
  });
  if (json.size() > 0)
    throw std::invalid_argument(concat("unknown option '", json.members()[0].first, "', expected one of ", names));
  config.validate();
  return config;
}

template <class O>
std::string options_json(const O& options) {
  Json json = Json::object();
  visit_options(options, [&](const char* name, const auto& field) { json[name] = encode(field); });
  return json.dump();
}

template <class O>
O read_options(const std::string& json) {
  return read(json, O{}, [](auto& o, auto&& visit) { visit_options(o, visit); });
}

Json metrics_json(const Metrics& metrics) {
  Json at = Json::object();
  for (const auto& m : metrics.at)
    at[std::to_string(m.k)] =
        Json{{"hr", m.hr}, {"mrr", m.mrr}, {"ndcg", m.ndcg}, {"coverage", m.coverage}, {"popularity", m.popularity}};
  return Json{{"at", at},
              {"examples", metrics.examples},
              {"cold_targets", metrics.cold_targets},
              {"unanswered", metrics.unanswered},
              {"unreachable", metrics.unreachable},
              {"tied", metrics.tied}};
}

Json epoch_json(const Epoch& epoch) {
  Json json{{"epoch", epoch.epoch}, {"loss", epoch.loss}, {"seconds", epoch.seconds}};
  if (epoch.validation) json["validation"] = metrics_json(*epoch.validation);
  return json;
}

// What a report says of the run that made the model, at any depth, and not of the model.
constexpr std::array kOfTheRun{"seconds", "examples_per_second", "resumed", "streamed"};

Json reproducible(const Json& value) {
  if (value.is_array()) {
    Json kept = Json::array();
    for (const Json& element : value.elements()) kept.push_back(reproducible(element));
    return kept;
  }
  if (!value.is_object()) return value;
  Json kept = Json::object();
  for (const auto& [key, member] : value.members()) {
    if (std::find(kOfTheRun.begin(), kOfTheRun.end(), key) != kOfTheRun.end()) continue;
    const bool device = key == "device" && member.is_string();
    kept[key] = device ? Json(kind_of_device(member.text())) : reproducible(member);
  }
  return kept;
}

}  // namespace

std::string to_json(const Config& config) {
  Json json;
  visit_config(config, [&](const char* name, const auto& field) { json[name] = encode(field); });
  return json.dump();
}

std::string to_json(const TrainConfig& config) {
  Json json;
  visit_train_config(config, [&](const char* name, const auto& field) { json[name] = encode(field); });
  return json.dump();
}

Config config_from_json(const std::string& json, Config config) {
  return read(json, std::move(config), [](auto& c, auto&& visit) { visit_config(c, visit); });
}

TrainConfig train_config_from_json(const std::string& json, TrainConfig config) {
  return read(json, std::move(config), [](auto& c, auto&& visit) { visit_train_config(c, visit); });
}

std::string to_json(const PopularityOptions& options) { return options_json(options); }
std::string to_json(const AssociationRuleOptions& options) { return options_json(options); }
std::string to_json(const SequentialRuleOptions& options) { return options_json(options); }
std::string to_json(const ItemKnnOptions& options) { return options_json(options); }
std::string to_json(const SessionKnnOptions& options) { return options_json(options); }

PopularityOptions popularity_options_from_json(const std::string& json) {
  return read_options<PopularityOptions>(json);
}
AssociationRuleOptions association_rule_options_from_json(const std::string& json) {
  return read_options<AssociationRuleOptions>(json);
}
SequentialRuleOptions sequential_rule_options_from_json(const std::string& json) {
  return read_options<SequentialRuleOptions>(json);
}
ItemKnnOptions item_knn_options_from_json(const std::string& json) { return read_options<ItemKnnOptions>(json); }
SessionKnnOptions session_knn_options_from_json(const std::string& json) {
  return read_options<SessionKnnOptions>(json);
}

std::string to_json(const Metrics& metrics) { return metrics_json(metrics).dump(); }

std::string to_json(const Epoch& epoch) { return epoch_json(epoch).dump(); }

std::string to_json(const TrainReport& report) {
  Json epochs = Json::array();
  for (const auto& epoch : report.epochs) epochs.push_back(epoch_json(epoch));
  return Json{{"epochs", epochs},
              {"best_epoch", report.best_epoch},
              {"stopped", report.stopped},
              {"reason", report.reason},
              {"steps", report.steps},
              {"examples", report.examples},
              {"calibration_examples", report.calibration_examples},
              {"temperature", encode(report.temperature)},
              {"tail_power", encode(report.tail_power)},
              {"longest_session", report.longest_session},
              {"long_sessions", report.long_sessions},
              {"cut_examples", report.cut_examples},
              {"seconds", report.seconds},
              {"examples_per_second", report.examples_per_second},
              {"resumed", report.resumed},
              {"streamed", report.streamed},
              {"device", report.device},
              {"precision", to_string(report.precision)}}
      .dump();
}

std::string reproducible_json(const std::string& report) { return reproducible(Json::parse(report)).dump(); }

Metrics metrics_from_json(const std::string& text) {
  const Json json = parse(text);
  Metrics metrics;
  for (const auto& [k, m] : json.at("at").members())
    metrics.at.push_back({.k = std::stoll(k),
                          .hr = m.at("hr").get<double>(),
                          .mrr = m.at("mrr").get<double>(),
                          .ndcg = m.at("ndcg").get<double>(),
                          .coverage = m.at("coverage").get<double>(),
                          .popularity = m.at("popularity").get<double>()});
  std::sort(metrics.at.begin(), metrics.at.end(), [](const auto& a, const auto& b) { return a.k < b.k; });
  metrics.examples = json.at("examples").get<std::int64_t>();
  metrics.cold_targets = json.at("cold_targets").get<std::int64_t>();
  metrics.unanswered = json.at("unanswered").get<std::int64_t>();
  metrics.unreachable = json.at("unreachable").get<std::int64_t>();
  metrics.tied = json.at("tied").get<std::int64_t>();
  return metrics;
}

}  // namespace stamp
