#include "inference_api.h"

#include <algorithm>
#include <array>

#include "events.h"
#include "json_reader.h"
#include "json_writer.h"
#include "predict_api.h"

namespace server {

namespace {

constexpr std::size_t kDimensions = 2, kInputs = 2, kInstances = 100;
constexpr std::array<std::string_view, 3> kOutputs{"items", "scores", "path"};

// A list of values, alone or as the one row of a batch: how many the shape has room for.
std::size_t read_shape(const Json& value) {
  std::vector<std::size_t> shape;
  value.each_item(kDimensions, [&](const Json& size) { shape.push_back(size.integer(0, kMaxIds)); });
  if (shape.empty() || (shape.size() == 2 && shape[0] != 1))
    value.wrong("[n] or [1, n] is expected: a request has one list");
  return shape.back();
}

// Tensors stand flat, or nested as a batch of one row.
template <class Use>
std::size_t each_value(const Json& data, Use&& use) {
  std::size_t n = 0;
  const auto count = [&](const Json& value) { use(value), ++n; };
  data.each_item(kMaxIds, [&](const Json& value) {
    if (value.is_array())
      value.each_item(kMaxIds, count);
    else
      count(value);
  });
  return n;
}

// Triton's clients ask for tensors behind the JSON, and read those in it as well.
void pass_over_parameters(const Json& parameters) {
  parameters.each_key([](std::string_view key, const Json& value) {
    if (key == "binary_data_size") value.wrong("there is no such key; tensors are expected in the JSON, as \"data\"");
    if (key != "binary_data" && key != "binary_data_output") return false;
    value.boolean();
    return true;
  });
}

void read_input(const Json& input, stamp::Catalog::Kind kind, int max_k, Prediction& asked) {
  std::string_view name, datatype;
  std::optional<std::size_t> size;
  input.each_key([&](std::string_view key, const Json& value) {
    if (key == "name")
      name = value.text();
    else if (key == "datatype")
      datatype = value.text();
    else if (key == "shape")
      size = read_shape(value);
    else if (key == "parameters")
      pass_over_parameters(value);
    else
      return key == "data";
    return true;
  });
  const bool is_k = name == "k";
  if (!is_k && name != "events")
    input.wrong("has the name \"" + std::string(name) + "\"; \"events\" or \"k\" is expected");
  const std::string_view right = is_k ? "INT64" : "BYTES";
  if (datatype != right)
    input.wrong("has the datatype \"" + std::string(datatype) + "\"; " + std::string(right) + " is expected");
  if (!size) input.wrong("has no \"shape\"");
  if (is_k && *size != 1) input.wrong("has " + std::to_string(*size) + " values by its shape; 1 is expected");
  std::optional<std::size_t> values;
  input.each_key([&](std::string_view key, const Json& data) {
    if (key != "data") return true;
    if (!is_k) asked.events.emplace();
    values = each_value(data, [&](const Json& value) {
      if (is_k) {
        asked.k = value.integer(1, max_k);
      } else {
        value.text();  // a number would be another datatype
        asked.events->push_back(read_product_id(value, kind));
      }
    });
    return true;
  });
  if (!values) input.wrong("has no \"data\"");
  if (*values != *size)
    input.wrong("has " + std::to_string(*values) + " values; " + std::to_string(*size) + " by its shape");
}

template <class Append>
void append_tensor(JsonArray& outputs, std::string_view name, std::string_view datatype, std::size_t size,
                   Append&& append) {
  JsonObject tensor(outputs.next());
  tensor.add("name", name);
  JsonArray(tensor.at("shape")).add(size);
  tensor.add("datatype", datatype);
  JsonArray data(tensor.at("data"));
  append(data);
}

}  // namespace

Inference read_inference(std::string_view body, std::string_view zone, stamp::Catalog::Kind kind, int max_k) {
  Inference read;
  read.asked.zone = zone;
  read_json(body, [&](const Json& document) {
    document.each_key([&](std::string_view key, const Json& value) {
      if (key == "id") {
        read.id = value.text(0, 1024);
      } else if (key == "parameters") {
        pass_over_parameters(value);
      } else if (key == "inputs") {
        value.each_item(kInputs, [&](const Json& input) { read_input(input, kind, max_k, read.asked); });
      } else if (key == "outputs") {
        read.outputs.clear();
        value.each_item(kOutputs.size(), [&](const Json& output) {
          bool is_named = false;
          output.each_key([&](std::string_view part, const Json& content) {
            if (part == "parameters") return pass_over_parameters(content), true;
            if (part != "name") return false;
            const std::string_view name = content.text();
            if (std::ranges::find(kOutputs, name) == kOutputs.end())
              content.wrong("there is no output \"" + std::string(name) +
                            "\"; \"items\", \"scores\" and \"path\" are known");
            read.outputs.emplace_back(name);
            return is_named = true;
          });
          if (!is_named) output.wrong("has no \"name\"");
        });
      } else {
        return false;
      }
      return true;
    });
    if (!read.asked.events) document.wrong("\"inputs\" has no \"events\"");
  });
  return read;
}

std::vector<Prediction> read_instances(std::string_view body, stamp::Catalog::Kind kind, int max_k) {
  std::vector<Prediction> asked;
  const auto read = [&](const Json& object, Prediction& prediction) {
    object.each_key([&](std::string_view key, const Json& value) {
      if (key != "zone") return read_predict_key(key, value, kind, max_k, prediction);
      prediction.zone = value.text(1, kMaxZoneBytes);
      return true;
    });
  };
  read_json(body, [&](const Json& document) {
    Prediction common;
    document.each_key([&](std::string_view key, const Json& value) {
      if (key == "parameters") return read(value, common), true;
      return key == "instances";
    });
    document.each_key([&](std::string_view key, const Json& value) {
      if (key != "instances") return true;
      asked.clear();
      value.each_item(kInstances, [&](const Json& instance) { read(instance, asked.emplace_back(common)); });
      return true;
    });
    if (asked.empty()) document.wrong("\"instances\" has none");
  });
  return asked;
}

std::string inference_body(const Inference& inference, const std::string& model, const Predicted& answer) {
  std::string body;
  {
    JsonObject out(body);
    out.add("model_name", model);
    out.add("model_version", answer.release);
    if (!inference.id.empty()) out.add("id", inference.id);
    JsonArray outputs(out.at("outputs"));
    const stamp::Recommendation& list = answer.list;
    const auto append = [&](std::string_view name) {
      if (name == "items")
        append_tensor(outputs, name, "BYTES", list.items.size(), [&](JsonArray& data) {
          for (const stamp::Id& id : list.items) data.add(stamp::to_string(id));
        });
      else if (name == "scores")
        append_tensor(outputs, name, "FP32", list.items.size(), [&](JsonArray& data) {
          for (const float score : list.scores) data.add(score);
        });
      else
        append_tensor(outputs, name, "BYTES", 1, [&](JsonArray& data) { data.add(stamp::to_string(list.path)); });
    };
    if (inference.outputs.empty())
      for (const std::string_view name : kOutputs) append(name);
    else
      for (const std::string& name : inference.outputs) append(name);
  }
  return body;
}

std::string inference_error_body(std::string_view message) {
  std::string body;
  JsonObject(body).add("error", valid_utf8(message));
  return body;
}

std::string inference_server_body() {
  std::string body;
  {
    JsonObject out(body);
    out.add("name", std::string_view("stamp-server"));
    out.add("version", std::string_view(STAMP_SERVER_VERSION));
    JsonArray extensions(out.at("extensions"));
  }
  return body;
}

std::string inference_model_body(const std::string& model, const std::string& release) {
  std::string body;
  {
    JsonObject out(body);
    out.add("name", model);
    JsonArray(out.at("versions")).add(release);
    out.add("platform", std::string_view("stamp"));
    const auto describe = [](JsonArray& tensors, std::string_view name, std::string_view datatype, int size) {
      JsonObject tensor(tensors.next());
      tensor.add("name", name);
      tensor.add("datatype", datatype);
      JsonArray(tensor.at("shape")).add(size);
    };
    {
      JsonArray inputs(out.at("inputs"));
      describe(inputs, "events", "BYTES", -1);
      describe(inputs, "k", "INT64", 1);
    }
    JsonArray outputs(out.at("outputs"));
    describe(outputs, "items", "BYTES", -1);
    describe(outputs, "scores", "FP32", -1);
    describe(outputs, "path", "BYTES", 1);
  }
  return body;
}

std::string predictions_body(const std::vector<Prediction>& asked, const std::vector<Predicted>& answers) {
  std::string body;
  {
    JsonObject out(body);
    JsonArray predictions(out.at("predictions"));
    for (std::size_t i = 0; i < asked.size(); ++i) append_answer(predictions.next(), asked[i], answers[i]);
  }
  return body;
}

}  // namespace server
