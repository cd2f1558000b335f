/* What a C program does with the library; test_c.cpp calls it. Returns 0, or the line of what went wrong. */
#include <stdlib.h>
#include <string.h>

#include "stamp/stamp_c.h"

#define CHECK(holds) \
  if (!(holds)) return __LINE__

/* An older caller's request: it ends after the events. */
typedef struct {
  size_t size;
  const stamp_id* events;
  size_t n_events;
} old_request;

int run_c_client(const char* bundle, const char* other) {
  CHECK(strlen(stamp_version()) >= 5);
  CHECK(strcmp(stamp_last_error(), "") == 0);

  stamp_recommender* recommender = NULL;
  CHECK(stamp_load("/nothing/here", NULL, &recommender) == STAMP_FAILED);
  CHECK(recommender == NULL && strstr(stamp_last_error(), "/nothing/here"));
  CHECK(stamp_load(NULL, NULL, &recommender) == STAMP_INVALID);
  CHECK(stamp_load(bundle, NULL, NULL) == STAMP_INVALID);
  stamp_options options = {sizeof options, "gpu", NULL, 0, 0, 0};
  CHECK(stamp_load(bundle, &options, &recommender) == STAMP_INVALID && strstr(stamp_last_error(), "gpu"));
  options.device = "cpu";
  options.lazy = 1;
  CHECK(stamp_load(bundle, &options, &recommender) == STAMP_OK && recommender);

  const stamp_id events[] = {{"sku-4", 0}, {"unknown", 0}, {"sku-7", 0}};
  const stamp_id excluded[] = {{"sku-10", 0}};
  stamp_request request;
  memset(&request, 0, sizeof request);
  request.size = sizeof request;
  request.events = events;
  request.n_events = 3;
  request.exclude = excluded;
  request.n_exclude = 1;
  request.k = 5;
  stamp_answer* answer = NULL;
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_OK && answer);
  CHECK(stamp_answer_size(answer) == 5);
  CHECK(strcmp(stamp_answer_path(answer), "anchor") == 0 && stamp_answer_cluster(answer) == 1);
  CHECK(stamp_answer_unknown_size(answer) == 1 && strcmp(stamp_answer_unknown(answer)[0].text, "unknown") == 0);
  CHECK(strcmp(stamp_answer_reason(answer), "") == 0 && strcmp(stamp_answer_explanation(answer), "") == 0);
  for (size_t i = 0; i < 5; ++i) {
    CHECK(strncmp(stamp_answer_ids(answer)[i].text, "sku-", 4) == 0);
    CHECK(strcmp(stamp_answer_ids(answer)[i].text, "sku-10") != 0);
    CHECK(i == 0 || stamp_answer_scores(answer)[i] <= stamp_answer_scores(answer)[i - 1]);
  }
  const float best = stamp_answer_scores(answer)[0];
  stamp_answer_free(answer);

  request.zone = "red";
  request.rules = "[{\"rule\": \"exclude_seen\"}]";
  request.k = 0;
  request.explain = 1;
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_OK);
  CHECK(stamp_answer_size(answer) == 4); /* what the zone says */
  for (size_t i = 0; i < 4; ++i) CHECK(strcmp(stamp_answer_ids(answer)[i].text, "sku-4") != 0);
  CHECK(strstr(stamp_answer_explanation(answer), "zones.red.rules[0]"));
  stamp_answer_free(answer);

  request.zone = "home";
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_INVALID && answer == NULL);
  CHECK(strstr(stamp_last_error(), "home"));
  request.zone = NULL;
  request.rules = "[{\"rule\": 3}]";
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_INVALID &&
        strstr(stamp_last_error(), "rules[0].rule"));
  request.rules = NULL;
  const stamp_id number = {NULL, 7};
  request.events = &number;
  request.n_events = 1;
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_INVALID && strstr(stamp_last_error(), "events[0] is"));
  request.n_events = 3;
  request.events = NULL;
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_INVALID);
  CHECK(stamp_recommend(recommender, NULL, &answer) == STAMP_INVALID);
  request.events = events;
  request.size = 4;
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_INVALID && strstr(stamp_last_error(), "size is 4"));

  /* Of an older caller: several, as far apart as they are large. */
  const old_request old[] = {{sizeof old[0], events, 1}, {sizeof old[0], events + 2, 1}};
  stamp_answer* answers[2] = {NULL, NULL};
  CHECK(stamp_recommend_many(recommender, (const stamp_request*)old, 2, answers) == STAMP_OK);
  CHECK(stamp_answer_size(answers[0]) == 20 && stamp_answer_cluster(answers[0]) == 1);
  CHECK(stamp_answer_size(answers[1]) == 20);
  stamp_answer_free(answers[0]);
  stamp_answer_free(answers[1]);
  CHECK(stamp_recommend_many(recommender, NULL, 0, NULL) == STAMP_OK);

  /* All or none, and each by itself. */
  request.size = sizeof request;
  request.explain = 0;
  request.k = 5;
  stamp_request several[] = {request, request, request, request};
  several[1].zone = "home";
  several[2].events = NULL;
  stamp_answer* each[4] = {NULL, NULL, NULL, NULL};
  CHECK(stamp_recommend_many(recommender, several, 4, each) == STAMP_INVALID && strstr(stamp_last_error(), "'home'"));
  for (int i = 0; i < 4; ++i) CHECK(each[i] == NULL);
  CHECK(stamp_recommend_each(recommender, several, 4, each) == STAMP_OK);
  CHECK(stamp_answer_status(each[1]) == STAMP_INVALID && strstr(stamp_answer_error(each[1]), "zone is 'home'"));
  CHECK(stamp_answer_status(each[2]) == STAMP_INVALID && strstr(stamp_answer_error(each[2]), "events is NULL"));
  for (int i = 0; i < 4; ++i) {
    CHECK(stamp_answer_size(each[i]) == (i % 3 == 0 ? 5 : 0));
    CHECK(i % 3 != 0 || stamp_answer_status(each[i]) == STAMP_OK);
    stamp_answer_free(each[i]);
  }
  CHECK(stamp_recommend_each(recommender, several, 4, NULL) == STAMP_INVALID);
  several[0].size = 4;
  CHECK(stamp_recommend_each(recommender, several, 4, each) == STAMP_INVALID &&
        strstr(stamp_last_error(), "size is 4"));
  for (int i = 0; i < 4; ++i) CHECK(each[i] == NULL);
  CHECK(stamp_recommend_each(NULL, several, 1, each) == STAMP_INVALID && each[0] == NULL);
  CHECK(stamp_recommend_each(recommender, NULL, 0, NULL) == STAMP_OK);

  CHECK(stamp_reload(recommender, "/nothing/here") == STAMP_FAILED);
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_OK && stamp_answer_scores(answer)[0] == best);
  stamp_answer_free(answer);
  CHECK(stamp_reload(recommender, other) == STAMP_OK);
  CHECK(stamp_reload(recommender, NULL) == STAMP_OK);
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_OK && stamp_answer_scores(answer)[0] != best);
  stamp_answer_free(answer);
  stamp_answer_free(NULL);
  stamp_free(NULL);
  stamp_free(recommender);
  return 0;
}
