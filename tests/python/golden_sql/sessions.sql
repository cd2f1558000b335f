SELECT
  `t5`.`day`,
  `t5`.`visitor_id`,
  `t5`.`session_id`,
  `t5`.`session_start`,
  `t5`.`time_us` AS `timestamp`,
  `t5`.`item_id`,
  `t5`.`event_type`,
  `t5`.`price_millionths`,
  `t5`.`quantity`,
  `t5`.`currency`,
  `t5`.`category`,
  `t5`.`brand`
FROM (
  SELECT
    `t4`.*
    EXCEPT (`known_start`, `pause`)
  FROM (
    SELECT
      *
    FROM (
      SELECT
        `t2`.`day`,
        `t2`.`visitor_id`,
        `t2`.`session_id`,
        `t2`.`time_us`,
        `t2`.`item_id`,
        `t2`.`event_type`,
        `t2`.`price_millionths`,
        `t2`.`quantity`,
        `t2`.`currency`,
        `t2`.`category`,
        `t2`.`brand`,
        `t2`.`known_start`,
        `t2`.`duplicate`,
        `t2`.`pause`,
        MAX(
          COALESCE(
            `t2`.`known_start`,
            CASE
              WHEN (
                `t2`.`pause` IS NULL
              ) OR (
                `t2`.`pause` > 1800000000
              )
              THEN `t2`.`time_us`
              ELSE NULL
            END
          )
        ) OVER (
          PARTITION BY `t2`.`visitor_id`
          ORDER BY `t2`.`time_us` ASC
          RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS `session_start`
      FROM (
        SELECT
          `t1`.`day`,
          `t1`.`visitor_id`,
          `t1`.`session_id`,
          `t1`.`time_us`,
          `t1`.`item_id`,
          `t1`.`event_type`,
          `t1`.`price_millionths`,
          `t1`.`quantity`,
          `t1`.`currency`,
          `t1`.`category`,
          `t1`.`brand`,
          `t1`.`known_start`,
          `t1`.`time_us` IS NOT DISTINCT FROM LAG(`t1`.`time_us`) OVER (
            PARTITION BY `t1`.`visitor_id`
            ORDER BY `t1`.`time_us` ASC, `t1`.`item_id` ASC, `t1`.`event_type` ASC, `t1`.`session_id` ASC, `t1`.`price_millionths` ASC, `t1`.`quantity` ASC, `t1`.`currency` ASC, `t1`.`category` ASC, `t1`.`brand` ASC
          )
          AND `t1`.`item_id` IS NOT DISTINCT FROM LAG(`t1`.`item_id`) OVER (
            PARTITION BY `t1`.`visitor_id`
            ORDER BY `t1`.`time_us` ASC, `t1`.`item_id` ASC, `t1`.`event_type` ASC, `t1`.`session_id` ASC, `t1`.`price_millionths` ASC, `t1`.`quantity` ASC, `t1`.`currency` ASC, `t1`.`category` ASC, `t1`.`brand` ASC
          )
          AND `t1`.`event_type` IS NOT DISTINCT FROM LAG(`t1`.`event_type`) OVER (
            PARTITION BY `t1`.`visitor_id`
            ORDER BY `t1`.`time_us` ASC, `t1`.`item_id` ASC, `t1`.`event_type` ASC, `t1`.`session_id` ASC, `t1`.`price_millionths` ASC, `t1`.`quantity` ASC, `t1`.`currency` ASC, `t1`.`category` ASC, `t1`.`brand` ASC
          )
          AND `t1`.`session_id` IS NOT DISTINCT FROM LAG(`t1`.`session_id`) OVER (
            PARTITION BY `t1`.`visitor_id`
            ORDER BY `t1`.`time_us` ASC, `t1`.`item_id` ASC, `t1`.`event_type` ASC, `t1`.`session_id` ASC, `t1`.`price_millionths` ASC, `t1`.`quantity` ASC, `t1`.`currency` ASC, `t1`.`category` ASC, `t1`.`brand` ASC
          )
          AND (
            (
              `t1`.`time_us` - LAG(`t1`.`time_us`) OVER (
                PARTITION BY `t1`.`visitor_id`
                ORDER BY `t1`.`time_us` ASC, `t1`.`item_id` ASC, `t1`.`event_type` ASC, `t1`.`session_id` ASC, `t1`.`price_millionths` ASC, `t1`.`quantity` ASC, `t1`.`currency` ASC, `t1`.`category` ASC, `t1`.`brand` ASC
              )
            ) IS NOT NULL
          ) AS `duplicate`,
          `t1`.`time_us` - LAG(`t1`.`time_us`) OVER (
            PARTITION BY `t1`.`visitor_id`
            ORDER BY `t1`.`time_us` ASC, `t1`.`item_id` ASC, `t1`.`event_type` ASC, `t1`.`session_id` ASC, `t1`.`price_millionths` ASC, `t1`.`quantity` ASC, `t1`.`currency` ASC, `t1`.`category` ASC, `t1`.`brand` ASC
          ) AS `pause`
        FROM (
          SELECT
            `t0`.`day`,
            `t0`.`visitor_id`,
            `t0`.`session_id`,
            `t0`.`time_us`,
            `t0`.`item_id`,
            `t0`.`event_type`,
            `t0`.`price_millionths`,
            `t0`.`quantity`,
            `t0`.`currency`,
            `t0`.`category`,
            `t0`.`brand`,
            CAST(NULL AS INT64) AS `known_start`
          FROM `shop`.`stamp`.`good` AS `t0`
        ) AS `t1`
      ) AS `t2`
    ) AS `t3`
    WHERE
      `t3`.`known_start` IS NULL
  ) AS `t4`
) AS `t5`
WHERE
  NOT (
    `t5`.`duplicate`
  );
