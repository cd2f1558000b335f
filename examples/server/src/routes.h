// Which request goes where: methods, content types, statuses, and what every answer carries.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "config.h"
#include "events.h"
#include "http.h"
#include "inventory.h"
#include "keys.h"
#include "metrics.h"
#include "predictor.h"
#include "readiness.h"
#include "releases.h"
#include "tokens.h"
#include "visits.h"
#include "work_queue.h"

namespace server {

// What visitors and their shop ask.
class Routes {
 public:
  Routes(const Config& config, const Releases& releases, Predictor& predictor, Visits* visits, Inventory* inventory,
         const Tokens& tokens, const Readiness& readiness, Keys& keys, Metrics& metrics);

  void operator()(const HttpRequest& request, HttpReply reply);
  void stop();  // ends what is under way; nobody may ask from now on

 private:
  struct Call;  // a request on its way, and where its answer goes
  void ready(const std::shared_ptr<Call>& call);
  void get_inference(const std::shared_ptr<Call>& call, const HttpRequest& request);
  void infer(const std::shared_ptr<Call>& call, const HttpRequest& request, std::string zone);
  void predict_instances(const std::shared_ptr<Call>& call, const HttpRequest& request);
  void predict(const std::shared_ptr<Call>& call, const HttpRequest& request, std::string zone);
  void batch_predict(const std::shared_ptr<Call>& call, const HttpRequest& request);
  void check_token(const UserEvent& event) const;
  void write_event(const std::shared_ptr<Call>& call, const HttpRequest& request);
  void import_events(const std::shared_ptr<Call>& call, const HttpRequest& request);
  void purge_events(const std::shared_ptr<Call>& call, const HttpRequest& request);
  void set_inventory(const std::shared_ptr<Call>& call, const HttpRequest& request);
  Visits& store() const;
  void show_products(const std::shared_ptr<Call>& call, const HttpRequest& request);
  void count(int status);

  const Config& config_;
  const Releases& releases_;
  Predictor& predictor_;
  Visits* visits_;
  Inventory* inventory_;
  const Tokens& tokens_;
  const Readiness& readiness_;
  Keys& keys_;
  Metrics& metrics_;
  const std::string openapi_;
  std::map<int, Sum*> responses_;  // by status; complete when constructed
  Histogram& time_;
  Sum& events_;
  Sum& attributed_;  // of these
  // They go first: their work uses the others.
  WorkQueue imports_;
  std::optional<WorkQueue> looks_;  // at the catalog, for the page at /demo; none where there is no such page
};

}  // namespace server
