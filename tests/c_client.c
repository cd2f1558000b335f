/* What a C program does with the library; test_c.cpp calls it. Returns 0, or the line of what went wrong. */
#include <pthread.h>
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

/* Where callbacks put answers. */
typedef struct {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  stamp_answer* answers[8];
  int n, let_go;
} inbox;

static void put(stamp_answer* answer, void* context) {
  inbox* in = context;
  pthread_mutex_lock(&in->mutex);
  in->answers[in->n++] = answer;
  pthread_cond_broadcast(&in->changed);
  pthread_mutex_unlock(&in->mutex);
}

/* The same, and the thread stays in it until it is let go. */
static void put_and_stay(stamp_answer* answer, void* context) {
  inbox* in = context;
  put(answer, context);
  pthread_mutex_lock(&in->mutex);
  while (!in->let_go) pthread_cond_wait(&in->changed, &in->mutex);
  pthread_mutex_unlock(&in->mutex);
}

static void wait_for(inbox* in, int n) {
  pthread_mutex_lock(&in->mutex);
  while (in->n < n) pthread_cond_wait(&in->changed, &in->mutex);
  pthread_mutex_unlock(&in->mutex);
}

static void let_go(inbox* in) {
  pthread_mutex_lock(&in->mutex);
  in->let_go = 1;
  pthread_cond_broadcast(&in->changed);
  pthread_mutex_unlock(&in->mutex);
}

/* On a library of one thread, so that what is submitted while it is held waits. Frees the recommender. */
static int run_submitting(stamp_recommender* recommender, stamp_request request) {
  inbox in = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {NULL}, 0, 0};
  stamp_answer* expected = NULL;
  CHECK(stamp_recommend(recommender, &request, &expected) == STAMP_OK);
  CHECK(stamp_answer_status(expected) == STAMP_OK && strcmp(stamp_answer_error(expected), "") == 0);

  stamp_ticket *first = NULL, *second = NULL;
  CHECK(stamp_submit(recommender, &request, 0, NULL, &in, &first) == STAMP_INVALID && first == NULL);
  CHECK(stamp_submit(recommender, NULL, 0, put, &in, NULL) == STAMP_INVALID);
  stamp_request wrong = request;
  wrong.events = NULL;
  CHECK(stamp_submit(recommender, &wrong, 0, put, &in, NULL) == STAMP_INVALID); /* and calls nobody */
  wrong = request;
  wrong.zone = "home";

  CHECK(stamp_submit(recommender, &request, 0, put_and_stay, &in, &first) == STAMP_OK && first);
  wait_for(&in, 1);
  CHECK(stamp_submit(recommender, &request, 0, put, &in, &second) == STAMP_OK);
  CHECK(stamp_submit(recommender, &wrong, INT64_MAX, put, &in, NULL) == STAMP_OK);
  CHECK(stamp_submit(recommender, &request, -1, put, &in, NULL) == STAMP_OK);
  CHECK(stamp_submit(recommender, &request, INT64_MIN, put, &in, NULL) == STAMP_OK);
  CHECK(stamp_submit(recommender, &request, 3600000000, put, &in, NULL) == STAMP_OK);
  CHECK(stamp_cancel(first) == 0 && stamp_cancel(second) == 1 && stamp_cancel(NULL) == 0);
  let_go(&in);
  wait_for(&in, 6);
  const stamp_status statuses[] = {STAMP_OK, STAMP_CANCELLED, STAMP_LATE, STAMP_LATE, STAMP_INVALID, STAMP_OK};
  const char* errors[] = {"", "cancelled", "the deadline passed", "the deadline passed", "zone is 'home'", ""};
  for (int i = 0; i < 6; ++i) {
    CHECK(stamp_answer_status(in.answers[i]) == statuses[i] && strstr(stamp_answer_error(in.answers[i]), errors[i]));
    if (statuses[i] == STAMP_OK) {
      CHECK(stamp_answer_size(in.answers[i]) == stamp_answer_size(expected));
      CHECK(stamp_answer_scores(in.answers[i])[0] == stamp_answer_scores(expected)[0]);
      CHECK(strcmp(stamp_answer_ids(in.answers[i])[0].text, stamp_answer_ids(expected)[0].text) == 0);
    } else {
      CHECK(stamp_answer_size(in.answers[i]) == 0 && strcmp(stamp_answer_path(in.answers[i]), "") == 0);
    }
    stamp_answer_free(in.answers[i]);
  }
  stamp_answer_free(expected);

  in.n = 0;
  CHECK(stamp_submit(recommender, &request, 0, put, &in, NULL) == STAMP_OK);
  stamp_free(recommender);
  CHECK(in.n == 1); /* answered or cancelled, but called */
  stamp_answer_free(in.answers[0]);
  CHECK(stamp_cancel(first) == 0 && stamp_cancel(second) == 0);
  stamp_ticket_free(first);
  stamp_ticket_free(second);
  stamp_ticket_free(NULL);
  return 0;
}

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

  const double none = 0, all = 1, more = 2;
  request.tail = &none;
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_OK && stamp_answer_scores(answer)[0] == best);
  stamp_answer_free(answer);
  request.tail = &all;
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_OK && stamp_answer_scores(answer)[0] < best);
  stamp_answer_free(answer);
  request.tail = &more;
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_INVALID && strstr(stamp_last_error(), "tail is 2"));
  request.tail = NULL;
  request.value = &all;
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_INVALID && strstr(stamp_last_error(), "have stock"));
  request.value = NULL;
  request.objective = "{\"click\": 2}";
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_OK && stamp_answer_scores(answer)[0] == best);
  stamp_answer_free(answer);
  request.objective = "{\"order\": 1}";
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_OK && stamp_answer_scores(answer)[0] != best);
  stamp_answer_free(answer);
  request.objective = "{\"cart\": 1}";
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_INVALID &&
        strstr(stamp_last_error(), "objective names 'cart', expected some of 'click', 'order'"));
  request.objective = "{click}";
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_INVALID &&
        strstr(stamp_last_error(), "recommend: objective is not JSON"));
  request.objective = NULL;

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

  /* Numbers, in force with the next request. */
  request.k = 100;
  request.n_exclude = 0;
  request.rules = "[{\"rule\": \"only_available\", \"attribute\": \"stock\"}]";
  const stamp_id sold_out[] = {{"sku-10", 0}, {"nothing", 0}, {"sku-1", 0}};
  const float none_left[] = {0, 0, 0};
  size_t unknown = 0;
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_OK && stamp_answer_size(answer) == 20);
  stamp_answer_free(answer);
  CHECK(stamp_set_numbers(recommender, "stock", sold_out, none_left, 3, &unknown) == STAMP_OK && unknown == 1);
  CHECK(stamp_set_numbers(recommender, "stock", NULL, NULL, 0, NULL) == STAMP_OK);
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_OK && stamp_answer_size(answer) == 18);
  stamp_answer_free(answer);
  CHECK(stamp_set_numbers(recommender, "colour", sold_out, none_left, 3, &unknown) == STAMP_INVALID &&
        strstr(stamp_last_error(), "attribute is 'colour'"));
  CHECK(stamp_set_numbers(recommender, "stock", NULL, none_left, 3, NULL) == STAMP_INVALID &&
        strstr(stamp_last_error(), "stamp_set_numbers: products is NULL"));
  CHECK(stamp_set_numbers(recommender, "stock", sold_out, NULL, 3, NULL) == STAMP_INVALID);
  CHECK(stamp_set_numbers(NULL, "stock", sold_out, none_left, 3, NULL) == STAMP_INVALID);
  request.k = 5;
  request.n_exclude = 1;
  request.rules = NULL;

  CHECK(stamp_reload(recommender, "/nothing/here") == STAMP_FAILED);
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_OK && stamp_answer_scores(answer)[0] == best);
  stamp_answer_free(answer);
  CHECK(stamp_reload(recommender, other) == STAMP_OK);
  CHECK(stamp_reload(recommender, NULL) == STAMP_OK);
  CHECK(stamp_recommend(recommender, &request, &answer) == STAMP_OK && stamp_answer_scores(answer)[0] != best);
  stamp_answer_free(answer);
  stamp_answer_free(NULL);
  stamp_free(NULL);
  return run_submitting(recommender, request);
}
