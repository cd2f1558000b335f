// From a question to its answer: the visitor's events, the release at hand, the list. No thread waits for another.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "admission.h"
#include "config.h"
#include "experiments.h"
#include "exposure_log.h"
#include "metrics.h"
#include "prediction.h"
#include "releases.h"
#include "secret.h"
#include "shadow.h"
#include "tokens.h"
#include "visits.h"

namespace server {

class Predictor {
 public:
  using Done = std::function<void(const std::vector<Prediction>& asked, std::vector<Predicted> answers)>;

  // What it works with. All of it outlives the predictor.
  struct Parts {
    const Config& config;
    Releases& releases;
    Visits* visits;  // null: there is no store
    const Experiments& experiments;
    ExposureLog* exposures;  // null: there is no log
    const Secret& secret;
    const Tokens& tokens;
    Admission& admission;
    Shadow* shadow;  // null: there is none
  };
  Predictor(const Parts& parts, Metrics& metrics);

  // The lists of one page, from one release and one look at the visitor's events. done is called once, on any thread,
  // perhaps before this returns; a list that cannot be has an error of its own. Throws Error 503 for what is refused.
  void predict(std::vector<Prediction> asked, std::chrono::steady_clock::time_point arrived, std::string request_id,
               Done done);

 private:
  struct Page;
  void list(const std::shared_ptr<Page>& page) const;
  void read_events(Page& page, const std::vector<Event>& events) const;
  void submit(const std::shared_ptr<Page>& page, std::size_t i, stamp::Request request) const;
  void answer(const std::shared_ptr<Page>& page, std::size_t i, stamp::Answer<stamp::Recommendation> list) const;
  std::string explored(Page& page, std::size_t i) const;
  void expose(const Page& page, std::size_t i, std::string candidates) const;
  void finish(const std::shared_ptr<Page>& page) const;

  const Config& config_;
  Releases& releases_;
  Visits* visits_;
  const Experiments& experiments_;
  ExposureLog* exposures_;
  const Secret& secret_;
  const Tokens& tokens_;
  Admission& admission_;
  Shadow* shadow_;
  Sum& refused_;
  Sum& without_events_;
  Histogram& visits_time_;
  Histogram& list_time_;
  std::vector<Sum*> by_path_;  // by stamp::Path
  std::map<const ArmOptions*, Sum*> exposed_;
};

}  // namespace server
