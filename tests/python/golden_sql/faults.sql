SELECT
  `t0`.`visitor_id`,
  `t0`.`session_id`,
  `t0`.`time_us`,
  `t0`.`item_id`,
  `t0`.`event_type`,
  `t0`.`raw_event_type`,
  `t0`.`price_millionths`,
  `t0`.`quantity`,
  `t0`.`currency`,
  `t0`.`category`,
  `t0`.`brand`,
  `t0`.`event_id`,
  `t0`.`malformed`,
  CASE
    WHEN COALESCE(`t0`.`malformed`, '') = 'row'
    THEN 'malformed_row'
    WHEN `t0`.`visitor_id` IS NULL
    THEN 'no_visitor'
    WHEN FALSE
    THEN 'no_session'
    WHEN (
      COALESCE(`t0`.`malformed`, '') = 'item_id'
    )
    OR COALESCE(LENGTH(`t0`.`item_id`) > 512, FALSE)
    THEN 'malformed_item'
    WHEN `t0`.`item_id` IS NULL
    THEN 'no_item'
    WHEN COALESCE(`t0`.`malformed`, '') = 'time'
    THEN 'malformed_time'
    WHEN `t0`.`time_us` IS NULL
    THEN 'no_time'
    WHEN COALESCE(`t0`.`time_us` > 1777593900000000, FALSE)
    THEN 'future'
    WHEN COALESCE(`t0`.`time_us` < 1775001600000000, FALSE)
    THEN 'before_window'
    WHEN FALSE
    THEN 'after_window'
    WHEN `t0`.`event_type` IS NULL
    THEN 'unknown_event_type'
    ELSE NULL
  END AS `reason`
FROM `shop`.`stamp`.`events` AS `t0`;
