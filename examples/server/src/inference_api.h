// The same lists in the dialects of inference servers: Open Inference Protocol v2, where a zone is a model
// (https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol), and custom containers of
// Vertex AI (https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "prediction.h"

namespace server {

struct Inference {
  Prediction asked;
  std::string id;                    // the caller's, to be given back; empty: none
  std::vector<std::string> outputs;  // in the order in which they are asked for; empty: all
};

// Both throw Error 400 with the path of the key. Instances have the keys of :predict and a zone, each its own visitor;
// "parameters" says the same for those that do not say otherwise.
Inference read_inference(std::string_view body, std::string_view zone, stamp::Catalog::Kind kind, int max_k);
std::vector<Prediction> read_instances(std::string_view body, stamp::Catalog::Kind kind, int max_k);

std::string inference_body(const Inference& inference, const std::string& model, const Predicted& answer);
std::string inference_error_body(std::string_view message);  // {"error": "…"}, as that protocol has it
std::string inference_server_body();
std::string inference_model_body(const std::string& model, const std::string& release);
std::string predictions_body(const std::vector<Prediction>& asked, const std::vector<Predicted>& answers);

}  // namespace server
