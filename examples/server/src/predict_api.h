// POST /v1/servingConfigs/{zone}:predict, in the vocabulary of Google's Retail API, with what shops ask for besides;
// and :batchPredict, the zones of one page in one call. openapi.json says the same for machines.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "json_reader.h"
#include "prediction.h"

namespace server {

constexpr std::size_t kMaxIds = 10000;  // of one list
constexpr std::size_t kMaxZoneBytes = 1024;

// Throws Error 400 with the path of the key.
Prediction read_predict(std::string_view body, std::string_view zone, stamp::Catalog::Kind kind, int max_k);
std::vector<Prediction> read_batch_predict(std::string_view body, stamp::Catalog::Kind kind, int max_k);

// Of a document that has more than :predict's keys: reads one of those, false for others.
bool read_predict_key(std::string_view key, const Json& value, stamp::Catalog::Kind kind, int max_k, Prediction& asked);

std::string predict_body(const Prediction& asked, const Predicted& answer);  // of one without an error
std::string batch_predict_body(const std::vector<Prediction>& asked, const std::vector<Predicted>& answers);
// The answer as an object, or its error as one.
void append_answer(std::string& out, const Prediction& asked, const Predicted& answer);

}  // namespace server
