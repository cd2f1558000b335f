CREATE TABLE `shop.scratch.kept_0` OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)) AS
SELECT
  *
FROM (
  SELECT
    `t3`.`visitor_id`,
    `t3`.`day`,
    COUNT(*) AS `a_day`
  FROM (
    SELECT
      `t2`.`visitor_id`,
      `t2`.`day`,
      `t2`.`time_us`
    FROM (
      SELECT
        `t1`.`visitor_id`,
        `t1`.`session_id`,
        `t1`.`time_us`,
        `t1`.`item_id`,
        `t1`.`event_type`,
        `t1`.`raw_event_type`,
        `t1`.`price_millionths`,
        `t1`.`quantity`,
        `t1`.`currency`,
        `t1`.`category`,
        `t1`.`brand`,
        `t1`.`event_id`,
        `t1`.`malformed`,
        `t1`.`day`,
        COALESCE(
          `t1`.`reason`,
          CASE
            WHEN (
              `t1`.`event_id` IS NOT NULL
            )
            AND (
              `t1`.`reason` IS NULL
            )
            AND (
              (
                ROW_NUMBER() OVER (
                  PARTITION BY `t1`.`event_id`, `t1`.`item_id`, `t1`.`reason` IS NULL
                  ORDER BY `t1`.`time_us` ASC, `t1`.`item_id` ASC, `t1`.`event_type` ASC, `t1`.`session_id` ASC, `t1`.`price_millionths` ASC, `t1`.`quantity` ASC, `t1`.`currency` ASC, `t1`.`category` ASC, `t1`.`brand` ASC, `t1`.`event_id` ASC, `t1`.`visitor_id` ASC
                ) - 1
              ) > 0
            )
            THEN 'duplicate'
            ELSE NULL
          END
        ) AS `reason`
      FROM (
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
          CAST(FLOOR(ieee_divide(`t0`.`time_us`, 86400000000)) AS INT64) AS `day`,
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
        FROM `shop`.`stamp`.`events` AS `t0`
      ) AS `t1`
    ) AS `t2`
    WHERE
      `t2`.`reason` IS NULL
  ) AS `t3`
  GROUP BY
    1,
    2
) AS `t4`
WHERE
  `t4`.`a_day` > 600;

CREATE TABLE `shop.scratch.kept_1` OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)) AS
SELECT
  `t9`.`visitor_id`,
  `t9`.`day`,
  TRUE AS `is_bot`
FROM (
  SELECT
    `t8`.`visitor_id`,
    `t8`.`day`,
    SUM(`t8`.`n`) AS `a_day`,
    MAX(`t8`.`n`) AS `an_hour`
  FROM (
    SELECT
      `t7`.`visitor_id`,
      `t7`.`day`,
      CAST(FLOOR(ieee_divide(`t7`.`time_us`, 3600000000)) AS INT64) AS `hour`,
      COUNT(*) AS `n`
    FROM (
      SELECT
        `t6`.`visitor_id`,
        `t6`.`day`,
        `t6`.`time_us`
      FROM (
        SELECT
          `t4`.`visitor_id`,
          `t4`.`day`,
          `t4`.`time_us`
        FROM (
          SELECT
            `t3`.`visitor_id`,
            `t3`.`session_id`,
            `t3`.`time_us`,
            `t3`.`item_id`,
            `t3`.`event_type`,
            `t3`.`raw_event_type`,
            `t3`.`price_millionths`,
            `t3`.`quantity`,
            `t3`.`currency`,
            `t3`.`category`,
            `t3`.`brand`,
            `t3`.`event_id`,
            `t3`.`malformed`,
            `t3`.`day`,
            COALESCE(
              `t3`.`reason`,
              CASE
                WHEN (
                  `t3`.`event_id` IS NOT NULL
                )
                AND (
                  `t3`.`reason` IS NULL
                )
                AND (
                  (
                    ROW_NUMBER() OVER (
                      PARTITION BY `t3`.`event_id`, `t3`.`item_id`, `t3`.`reason` IS NULL
                      ORDER BY `t3`.`time_us` ASC, `t3`.`item_id` ASC, `t3`.`event_type` ASC, `t3`.`session_id` ASC, `t3`.`price_millionths` ASC, `t3`.`quantity` ASC, `t3`.`currency` ASC, `t3`.`category` ASC, `t3`.`brand` ASC, `t3`.`event_id` ASC, `t3`.`visitor_id` ASC
                    ) - 1
                  ) > 0
                )
                THEN 'duplicate'
                ELSE NULL
              END
            ) AS `reason`
          FROM (
            SELECT
              `t1`.`visitor_id`,
              `t1`.`session_id`,
              `t1`.`time_us`,
              `t1`.`item_id`,
              `t1`.`event_type`,
              `t1`.`raw_event_type`,
              `t1`.`price_millionths`,
              `t1`.`quantity`,
              `t1`.`currency`,
              `t1`.`category`,
              `t1`.`brand`,
              `t1`.`event_id`,
              `t1`.`malformed`,
              CAST(FLOOR(ieee_divide(`t1`.`time_us`, 86400000000)) AS INT64) AS `day`,
              CASE
                WHEN COALESCE(`t1`.`malformed`, '') = 'row'
                THEN 'malformed_row'
                WHEN `t1`.`visitor_id` IS NULL
                THEN 'no_visitor'
                WHEN FALSE
                THEN 'no_session'
                WHEN (
                  COALESCE(`t1`.`malformed`, '') = 'item_id'
                )
                OR COALESCE(LENGTH(`t1`.`item_id`) > 512, FALSE)
                THEN 'malformed_item'
                WHEN `t1`.`item_id` IS NULL
                THEN 'no_item'
                WHEN COALESCE(`t1`.`malformed`, '') = 'time'
                THEN 'malformed_time'
                WHEN `t1`.`time_us` IS NULL
                THEN 'no_time'
                WHEN COALESCE(`t1`.`time_us` > 1777593900000000, FALSE)
                THEN 'future'
                WHEN COALESCE(`t1`.`time_us` < 1775001600000000, FALSE)
                THEN 'before_window'
                WHEN FALSE
                THEN 'after_window'
                WHEN `t1`.`event_type` IS NULL
                THEN 'unknown_event_type'
                ELSE NULL
              END AS `reason`
            FROM `shop`.`stamp`.`events` AS `t1`
          ) AS `t3`
        ) AS `t4`
        WHERE
          `t4`.`reason` IS NULL
      ) AS `t6`
      WHERE
        EXISTS(
          SELECT
            1
          FROM `shop`.`scratch`.`kept_0` AS `t2`
          WHERE
            `t6`.`visitor_id` = `t2`.`visitor_id` AND `t6`.`day` = `t2`.`day`
        )
    ) AS `t7`
    GROUP BY
      1,
      2,
      3
  ) AS `t8`
  GROUP BY
    1,
    2
) AS `t9`
WHERE
  (
    `t9`.`a_day` > 1000
  ) OR (
    `t9`.`an_hour` > 600
  );

SELECT
  `t5`.`visitor_id`,
  `t5`.`session_id`,
  `t5`.`time_us`,
  `t5`.`item_id`,
  `t5`.`event_type`,
  `t5`.`raw_event_type`,
  `t5`.`price_millionths`,
  `t5`.`quantity`,
  `t5`.`currency`,
  `t5`.`category`,
  `t5`.`brand`,
  `t5`.`event_id`,
  `t5`.`malformed`,
  `t5`.`day`,
  COALESCE(`t5`.`reason`, CASE WHEN `t2`.`is_bot` THEN 'bot' ELSE NULL END) AS `reason`
FROM (
  SELECT
    `t3`.`visitor_id`,
    `t3`.`session_id`,
    `t3`.`time_us`,
    `t3`.`item_id`,
    `t3`.`event_type`,
    `t3`.`raw_event_type`,
    `t3`.`price_millionths`,
    `t3`.`quantity`,
    `t3`.`currency`,
    `t3`.`category`,
    `t3`.`brand`,
    `t3`.`event_id`,
    `t3`.`malformed`,
    `t3`.`day`,
    COALESCE(
      `t3`.`reason`,
      CASE
        WHEN (
          `t3`.`event_id` IS NOT NULL
        )
        AND (
          `t3`.`reason` IS NULL
        )
        AND (
          (
            ROW_NUMBER() OVER (
              PARTITION BY `t3`.`event_id`, `t3`.`item_id`, `t3`.`reason` IS NULL
              ORDER BY `t3`.`time_us` ASC, `t3`.`item_id` ASC, `t3`.`event_type` ASC, `t3`.`session_id` ASC, `t3`.`price_millionths` ASC, `t3`.`quantity` ASC, `t3`.`currency` ASC, `t3`.`category` ASC, `t3`.`brand` ASC, `t3`.`event_id` ASC, `t3`.`visitor_id` ASC
            ) - 1
          ) > 0
        )
        THEN 'duplicate'
        ELSE NULL
      END
    ) AS `reason`
  FROM (
    SELECT
      `t1`.`visitor_id`,
      `t1`.`session_id`,
      `t1`.`time_us`,
      `t1`.`item_id`,
      `t1`.`event_type`,
      `t1`.`raw_event_type`,
      `t1`.`price_millionths`,
      `t1`.`quantity`,
      `t1`.`currency`,
      `t1`.`category`,
      `t1`.`brand`,
      `t1`.`event_id`,
      `t1`.`malformed`,
      CAST(FLOOR(ieee_divide(`t1`.`time_us`, 86400000000)) AS INT64) AS `day`,
      CASE
        WHEN COALESCE(`t1`.`malformed`, '') = 'row'
        THEN 'malformed_row'
        WHEN `t1`.`visitor_id` IS NULL
        THEN 'no_visitor'
        WHEN FALSE
        THEN 'no_session'
        WHEN (
          COALESCE(`t1`.`malformed`, '') = 'item_id'
        )
        OR COALESCE(LENGTH(`t1`.`item_id`) > 512, FALSE)
        THEN 'malformed_item'
        WHEN `t1`.`item_id` IS NULL
        THEN 'no_item'
        WHEN COALESCE(`t1`.`malformed`, '') = 'time'
        THEN 'malformed_time'
        WHEN `t1`.`time_us` IS NULL
        THEN 'no_time'
        WHEN COALESCE(`t1`.`time_us` > 1777593900000000, FALSE)
        THEN 'future'
        WHEN COALESCE(`t1`.`time_us` < 1775001600000000, FALSE)
        THEN 'before_window'
        WHEN FALSE
        THEN 'after_window'
        WHEN `t1`.`event_type` IS NULL
        THEN 'unknown_event_type'
        ELSE NULL
      END AS `reason`
    FROM `shop`.`stamp`.`events` AS `t1`
  ) AS `t3`
) AS `t5`
LEFT OUTER JOIN `shop`.`scratch`.`kept_1` AS `t2`
  ON `t5`.`visitor_id` = `t2`.`visitor_id` AND `t5`.`day` = `t2`.`day`;
