WITH `t2` AS (
  SELECT
    `t0`.`item_id`,
    `t0`.`timestamp`,
    `t0`.`brand`
  FROM `shop`.`stamp`.`stored` AS `t0`
  WHERE
    `t0`.`brand` IS NOT NULL
), `t3` AS (
  SELECT
    `t0`.`item_id`,
    `t0`.`timestamp`,
    `t0`.`category`
  FROM `shop`.`stamp`.`stored` AS `t0`
  WHERE
    `t0`.`category` IS NOT NULL
), `t4` AS (
  SELECT
    `t0`.`item_id`,
    `t0`.`timestamp`,
    `t0`.`price_millionths`
  FROM `shop`.`stamp`.`stored` AS `t0`
  WHERE
    `t0`.`price_millionths` IS NOT NULL
)
SELECT
  `t34`.`item_id`,
  `t34`.`first_seen`,
  `t34`.`last_seen`,
  `t34`.`events`,
  CAST(NULL AS BOOL) AS `available`,
  `t34`.`price_millionths`,
  `t34`.`category`,
  `t34`.`brand`
FROM (
  SELECT
    `t33`.*
    EXCEPT (`item_id_right`)
  FROM (
    SELECT
      `t32`.`item_id`,
      `t32`.`first_seen`,
      `t32`.`last_seen`,
      `t32`.`events`,
      `t32`.`price_millionths`,
      `t32`.`category`,
      `t24`.`item_id` AS `item_id_right`,
      `t24`.`brand`
    FROM (
      SELECT
        `t30`.*
        EXCEPT (`item_id_right`)
      FROM (
        SELECT
          `t29`.`item_id`,
          `t29`.`first_seen`,
          `t29`.`last_seen`,
          `t29`.`events`,
          `t29`.`price_millionths`,
          `t25`.`item_id` AS `item_id_right`,
          `t25`.`category`
        FROM (
          SELECT
            `t27`.*
            EXCEPT (`item_id_right`)
          FROM (
            SELECT
              `t5`.`item_id`,
              `t5`.`first_seen`,
              `t5`.`last_seen`,
              `t5`.`events`,
              `t26`.`item_id` AS `item_id_right`,
              `t26`.`price_millionths`
            FROM (
              SELECT
                `t0`.`item_id`,
                MIN(`t0`.`timestamp`) AS `first_seen`,
                MAX(`t0`.`timestamp`) AS `last_seen`,
                COUNT(*) AS `events`
              FROM `shop`.`stamp`.`stored` AS `t0`
              GROUP BY
                1
            ) AS `t5`
            LEFT OUTER JOIN (
              SELECT
                `t20`.`item_id`,
                MAX(`t20`.`price_millionths`) AS `price_millionths`
              FROM (
                SELECT
                  `t11`.`item_id`,
                  `t11`.`timestamp`,
                  `t11`.`price_millionths`
                FROM `t4` AS `t11`
                WHERE
                  EXISTS(
                    SELECT
                      1
                    FROM (
                      SELECT
                        `t8`.`item_id`,
                        MAX(`t8`.`timestamp`) AS `timestamp`
                      FROM `t4` AS `t8`
                      GROUP BY
                        1
                    ) AS `t17`
                    WHERE
                      `t11`.`item_id` = `t17`.`item_id` AND `t11`.`timestamp` = `t17`.`timestamp`
                  )
              ) AS `t20`
              GROUP BY
                1
            ) AS `t26`
              ON `t5`.`item_id` = `t26`.`item_id`
          ) AS `t27`
        ) AS `t29`
        LEFT OUTER JOIN (
          SELECT
            `t19`.`item_id`,
            MAX(`t19`.`category`) AS `category`
          FROM (
            SELECT
              `t10`.`item_id`,
              `t10`.`timestamp`,
              `t10`.`category`
            FROM `t3` AS `t10`
            WHERE
              EXISTS(
                SELECT
                  1
                FROM (
                  SELECT
                    `t7`.`item_id`,
                    MAX(`t7`.`timestamp`) AS `timestamp`
                  FROM `t3` AS `t7`
                  GROUP BY
                    1
                ) AS `t16`
                WHERE
                  `t10`.`item_id` = `t16`.`item_id` AND `t10`.`timestamp` = `t16`.`timestamp`
              )
          ) AS `t19`
          GROUP BY
            1
        ) AS `t25`
          ON `t29`.`item_id` = `t25`.`item_id`
      ) AS `t30`
    ) AS `t32`
    LEFT OUTER JOIN (
      SELECT
        `t18`.`item_id`,
        MAX(`t18`.`brand`) AS `brand`
      FROM (
        SELECT
          `t9`.`item_id`,
          `t9`.`timestamp`,
          `t9`.`brand`
        FROM `t2` AS `t9`
        WHERE
          EXISTS(
            SELECT
              1
            FROM (
              SELECT
                `t6`.`item_id`,
                MAX(`t6`.`timestamp`) AS `timestamp`
              FROM `t2` AS `t6`
              GROUP BY
                1
            ) AS `t15`
            WHERE
              `t9`.`item_id` = `t15`.`item_id` AND `t9`.`timestamp` = `t15`.`timestamp`
          )
      ) AS `t18`
      GROUP BY
        1
    ) AS `t24`
      ON `t32`.`item_id` = `t24`.`item_id`
  ) AS `t33`
) AS `t34`
ORDER BY
  `t34`.`item_id` ASC NULLS LAST;
