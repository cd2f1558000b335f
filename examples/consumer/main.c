/* Recommends from a bundle, in C, against the installed library: client BUNDLE [ZONE] PRODUCT... */
#include <stdio.h>
#include <stdlib.h>

#include "stamp/stamp_c.h"

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: %s BUNDLE ZONE PRODUCT...\n", argv[0]);
    return 2;
  }
  stamp_options options = {.size = sizeof options, .device = "cpu"};
  stamp_recommender* recommender;
  if (stamp_load(argv[1], &options, &recommender) != STAMP_OK) {
    fprintf(stderr, "%s\n", stamp_last_error());
    return 1;
  }

  const size_t n = (size_t)argc - 3;
  stamp_id* events = calloc(n, sizeof *events);
  for (size_t i = 0; i < n; ++i) events[i].text = argv[3 + i];
  const stamp_request request = {.size = sizeof request, .events = events, .n_events = n, .k = 5, .zone = argv[2]};
  stamp_answer* answer;
  const stamp_status status = stamp_recommend(recommender, &request, &answer);
  if (status == STAMP_OK) {
    const stamp_id* ids = stamp_answer_ids(answer);
    for (size_t i = 0; i < stamp_answer_size(answer); ++i)
      printf("%s %.3f\n", ids[i].text, stamp_answer_scores(answer)[i]);
    stamp_answer_free(answer);
  } else {
    fprintf(stderr, "%s\n", stamp_last_error());
  }
  free(events);
  stamp_free(recommender);
  return status == STAMP_OK ? 0 : 1;
}
