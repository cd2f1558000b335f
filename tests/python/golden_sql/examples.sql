SELECT
  COALESCE(
    CONCAT(`t5`.`visitor_id`, '/', `t5`.`session_id`),
    CONCAT(`t5`.`visitor_id`, '/', CAST(`t5`.`session_start` AS STRING))
  ) AS `session_id`,
  `t5`.`position`,
  `t5`.`item_id`,
  `t5`.`timestamp`,
  `t5`.`visitor_id`,
  `t5`.`event_type`,
  `t5`.`value_millionths`,
  `t5`.`weight_millionths`,
  `t5`.`next_item_id`,
  `t5`.`next_weight_millionths`,
  `t5`.`next_timestamp`,
  `t5`.`session_start`,
  `t5`.`session_end`
FROM (
  SELECT
    `t4`.`visitor_id`,
    `t4`.`session_id`,
    MIN(`t4`.`timestamp`) OVER (
      PARTITION BY `t4`.`visitor_id`, `t4`.`session_id`, `t4`.`session_start`
      ORDER BY `t4`.`timestamp` ASC, `t4`.`item_id` ASC, `t4`.`event_type` ASC
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) AS `session_start`,
    `t4`.`timestamp`,
    `t4`.`item_id`,
    `t4`.`event_type`,
    `t4`.`price_millionths`,
    `t4`.`quantity`,
    `t4`.`currency`,
    `t4`.`category`,
    `t4`.`brand`,
    `t4`.`value_millionths`,
    `t4`.`weight_millionths`,
    ROW_NUMBER() OVER (
      PARTITION BY `t4`.`visitor_id`, `t4`.`session_id`, `t4`.`session_start`
      ORDER BY `t4`.`timestamp` ASC, `t4`.`item_id` ASC, `t4`.`event_type` ASC
    ) - 1 AS `position`,
    LEAD(`t4`.`item_id`) OVER (
      PARTITION BY `t4`.`visitor_id`, `t4`.`session_id`, `t4`.`session_start`
      ORDER BY `t4`.`timestamp` ASC, `t4`.`item_id` ASC, `t4`.`event_type` ASC
    ) AS `next_item_id`,
    LEAD(`t4`.`weight_millionths`) OVER (
      PARTITION BY `t4`.`visitor_id`, `t4`.`session_id`, `t4`.`session_start`
      ORDER BY `t4`.`timestamp` ASC, `t4`.`item_id` ASC, `t4`.`event_type` ASC
    ) AS `next_weight_millionths`,
    LEAD(`t4`.`timestamp`) OVER (
      PARTITION BY `t4`.`visitor_id`, `t4`.`session_id`, `t4`.`session_start`
      ORDER BY `t4`.`timestamp` ASC, `t4`.`item_id` ASC, `t4`.`event_type` ASC
    ) AS `next_timestamp`,
    MAX(`t4`.`timestamp`) OVER (
      PARTITION BY `t4`.`visitor_id`, `t4`.`session_id`, `t4`.`session_start`
      ORDER BY `t4`.`timestamp` ASC, `t4`.`item_id` ASC, `t4`.`event_type` ASC
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) AS `session_end`,
    COUNT(*) OVER (
      PARTITION BY `t4`.`visitor_id`, `t4`.`session_id`, `t4`.`session_start`
      ORDER BY `t4`.`timestamp` ASC, `t4`.`item_id` ASC, `t4`.`event_type` ASC
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) AS `length`
  FROM (
    SELECT
      `t3`.`visitor_id`,
      `t3`.`session_id`,
      `t3`.`session_start`,
      `t3`.`timestamp`,
      `t3`.`item_id`,
      `t3`.`event_type`,
      `t3`.`price_millionths`,
      `t3`.`quantity`,
      `t3`.`currency`,
      `t3`.`category`,
      `t3`.`brand`,
      CASE
        WHEN (
          `t3`.`price_millionths` < 0
        ) OR (
          COALESCE(`t3`.`quantity`, 1) < 0
        )
        THEN CAST(NULL AS INT64)
        WHEN (
          CAST(`t3`.`price_millionths` AS FLOAT64) * CAST(COALESCE(`t3`.`quantity`, 1) AS FLOAT64)
        ) > 9000000000000.0
        THEN 9000000000000
        ELSE `t3`.`price_millionths` * COALESCE(`t3`.`quantity`, 1)
      END AS `value_millionths`,
      CAST(FLOOR(
        ieee_divide(
          CAST(FLOOR(
            ieee_divide(
              CAST(CASE
                WHEN `t3`.`event_type` = 'view'
                THEN 1000000
                WHEN `t3`.`event_type` = 'cart'
                THEN 1000000
                WHEN `t3`.`event_type` = 'remove'
                THEN 0
                WHEN `t3`.`event_type` = 'order'
                THEN 3000000
                ELSE NULL
              END AS INT64) * CASE
                WHEN CASE
                  WHEN (
                    `t3`.`price_millionths` < 0
                  ) OR (
                    COALESCE(`t3`.`quantity`, 1) < 0
                  )
                  THEN CAST(NULL AS INT64)
                  WHEN (
                    CAST(`t3`.`price_millionths` AS FLOAT64) * CAST(COALESCE(`t3`.`quantity`, 1) AS FLOAT64)
                  ) > 9000000000000.0
                  THEN 9000000000000
                  ELSE `t3`.`price_millionths` * COALESCE(`t3`.`quantity`, 1)
                END IS NULL
                THEN 1000000
                WHEN CAST(FLOOR(
                  ieee_divide(
                    CASE
                      WHEN CASE
                        WHEN (
                          `t3`.`price_millionths` < 0
                        ) OR (
                          COALESCE(`t3`.`quantity`, 1) < 0
                        )
                        THEN CAST(NULL AS INT64)
                        WHEN (
                          CAST(`t3`.`price_millionths` AS FLOAT64) * CAST(COALESCE(`t3`.`quantity`, 1) AS FLOAT64)
                        ) > 9000000000000.0
                        THEN 9000000000000
                        ELSE `t3`.`price_millionths` * COALESCE(`t3`.`quantity`, 1)
                      END > 200000000
                      THEN 20000
                      ELSE CAST(FLOOR(
                        ieee_divide(
                          CASE
                            WHEN (
                              `t3`.`price_millionths` < 0
                            ) OR (
                              COALESCE(`t3`.`quantity`, 1) < 0
                            )
                            THEN CAST(NULL AS INT64)
                            WHEN (
                              CAST(`t3`.`price_millionths` AS FLOAT64) * CAST(COALESCE(`t3`.`quantity`, 1) AS FLOAT64)
                            ) > 9000000000000.0
                            THEN 9000000000000
                            ELSE `t3`.`price_millionths` * COALESCE(`t3`.`quantity`, 1)
                          END,
                          10000
                        )
                      ) AS INT64)
                    END * 1000000,
                    2000
                  )
                ) AS INT64) < 100000
                THEN 100000
                ELSE CAST(FLOOR(
                  ieee_divide(
                    CASE
                      WHEN CASE
                        WHEN (
                          `t3`.`price_millionths` < 0
                        ) OR (
                          COALESCE(`t3`.`quantity`, 1) < 0
                        )
                        THEN CAST(NULL AS INT64)
                        WHEN (
                          CAST(`t3`.`price_millionths` AS FLOAT64) * CAST(COALESCE(`t3`.`quantity`, 1) AS FLOAT64)
                        ) > 9000000000000.0
                        THEN 9000000000000
                        ELSE `t3`.`price_millionths` * COALESCE(`t3`.`quantity`, 1)
                      END > 200000000
                      THEN 20000
                      ELSE CAST(FLOOR(
                        ieee_divide(
                          CASE
                            WHEN (
                              `t3`.`price_millionths` < 0
                            ) OR (
                              COALESCE(`t3`.`quantity`, 1) < 0
                            )
                            THEN CAST(NULL AS INT64)
                            WHEN (
                              CAST(`t3`.`price_millionths` AS FLOAT64) * CAST(COALESCE(`t3`.`quantity`, 1) AS FLOAT64)
                            ) > 9000000000000.0
                            THEN 9000000000000
                            ELSE `t3`.`price_millionths` * COALESCE(`t3`.`quantity`, 1)
                          END,
                          10000
                        )
                      ) AS INT64)
                    END * 1000000,
                    2000
                  )
                ) AS INT64)
              END,
              1000000
            )
          ) AS INT64) * CASE
            WHEN (
              20543 - CAST(FLOOR(ieee_divide(`t3`.`timestamp`, 86400000000)) AS INT64)
            ) = 0
            THEN 1000000
            WHEN (
              20543 - CAST(FLOOR(ieee_divide(`t3`.`timestamp`, 86400000000)) AS INT64)
            ) = 1
            THEN 707107
            WHEN (
              20543 - CAST(FLOOR(ieee_divide(`t3`.`timestamp`, 86400000000)) AS INT64)
            ) = 2
            THEN 500000
            WHEN (
              20543 - CAST(FLOOR(ieee_divide(`t3`.`timestamp`, 86400000000)) AS INT64)
            ) = 3
            THEN 353553
            ELSE 0
          END,
          1000000
        )
      ) AS INT64) AS `weight_millionths`
    FROM (
      SELECT
        `t2`.*
        EXCEPT (`before`)
      FROM (
        SELECT
          *
        FROM (
          SELECT
            `t0`.`visitor_id`,
            `t0`.`session_id`,
            `t0`.`session_start`,
            `t0`.`timestamp`,
            `t0`.`item_id`,
            `t0`.`event_type`,
            `t0`.`price_millionths`,
            `t0`.`quantity`,
            `t0`.`currency`,
            `t0`.`category`,
            `t0`.`brand`,
            LAG(`t0`.`item_id`) OVER (
              PARTITION BY `t0`.`visitor_id`, `t0`.`session_id`, `t0`.`session_start`
              ORDER BY `t0`.`timestamp` ASC, `t0`.`item_id` ASC, `t0`.`event_type` ASC
            ) AS `before`
          FROM `shop`.`stamp`.`stored` AS `t0`
        ) AS `t1`
        WHERE
          (
            `t1`.`before` IS NULL
          ) OR (
            `t1`.`before` <> `t1`.`item_id`
          )
      ) AS `t2`
    ) AS `t3`
  ) AS `t4`
) AS `t5`
WHERE
  `t5`.`length` >= 2
ORDER BY
  `t5`.`session_end` ASC NULLS LAST,
  COALESCE(
    CONCAT(`t5`.`visitor_id`, '/', `t5`.`session_id`),
    CONCAT(`t5`.`visitor_id`, '/', CAST(`t5`.`session_start` AS STRING))
  ) ASC NULLS LAST,
  `t5`.`position` ASC NULLS LAST;
