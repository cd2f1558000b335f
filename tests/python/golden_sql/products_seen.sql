WITH `t3` AS (
  SELECT
    `t0`.`item_id`,
    MIN(`t0`.`timestamp`) AS `first_seen`,
    MAX(`t0`.`timestamp`) AS `last_seen`,
    COUNT(*) AS `events`,
    MAX(IF(`t0`.`price_millionths` IS NOT NULL, `t0`.`timestamp`, NULL)) AS `price_millionths_known`,
    MAX(IF(`t0`.`category` IS NOT NULL, `t0`.`timestamp`, NULL)) AS `category_known`,
    MAX(IF(`t0`.`brand` IS NOT NULL, `t0`.`timestamp`, NULL)) AS `brand_known`
  FROM `shop`.`stamp`.`stored` AS `t0`
  GROUP BY
    1
)
SELECT
  `t14`.`item_id`,
  `t14`.`first_seen`,
  `t14`.`last_seen`,
  `t14`.`events`,
  CAST(NULL AS BOOL) AS `available`,
  `t14`.`price_millionths`,
  `t14`.`category`,
  `t14`.`brand`
FROM (
  SELECT
    `t13`.*
    EXCEPT (`item_id_right`)
  FROM (
    SELECT
      `t7`.`item_id`,
      `t7`.`first_seen`,
      `t7`.`last_seen`,
      `t7`.`events`,
      `t12`.`item_id` AS `item_id_right`,
      `t12`.`price_millionths`,
      `t12`.`category`,
      `t12`.`brand`
    FROM (
      SELECT
        `t4`.`item_id`,
        `t4`.`first_seen`,
        `t4`.`last_seen`,
        `t4`.`events`
      FROM `t3` AS `t4`
    ) AS `t7`
    LEFT OUTER JOIN (
      SELECT
        `t10`.`item_id`,
        MAX(
          IF(`t10`.`timestamp` = `t10`.`price_millionths_known`, `t10`.`price_millionths`, NULL)
        ) AS `price_millionths`,
        MAX(IF(`t10`.`timestamp` = `t10`.`category_known`, `t10`.`category`, NULL)) AS `category`,
        MAX(IF(`t10`.`timestamp` = `t10`.`brand_known`, `t10`.`brand`, NULL)) AS `brand`
      FROM (
        SELECT
          *
        FROM (
          SELECT
            `t2`.`item_id`,
            `t2`.`timestamp`,
            `t2`.`price_millionths`,
            `t2`.`category`,
            `t2`.`brand`,
            `t8`.`price_millionths_known`,
            `t8`.`category_known`,
            `t8`.`brand_known`
          FROM (
            SELECT
              `t0`.`item_id`,
              `t0`.`timestamp`,
              `t0`.`price_millionths`,
              `t0`.`category`,
              `t0`.`brand`
            FROM `shop`.`stamp`.`stored` AS `t0`
          ) AS `t2`
          INNER JOIN (
            SELECT
              `t4`.`item_id`,
              `t4`.`price_millionths_known`,
              `t4`.`category_known`,
              `t4`.`brand_known`
            FROM `t3` AS `t4`
          ) AS `t8`
            ON `t2`.`item_id` = `t8`.`item_id`
        ) AS `t9`
        WHERE
          (
            `t9`.`timestamp` = `t9`.`price_millionths_known`
          )
          OR (
            `t9`.`timestamp` = `t9`.`category_known`
          )
          OR (
            `t9`.`timestamp` = `t9`.`brand_known`
          )
      ) AS `t10`
      GROUP BY
        1
    ) AS `t12`
      ON `t7`.`item_id` = `t12`.`item_id`
  ) AS `t13`
) AS `t14`
ORDER BY
  `t14`.`item_id` ASC NULLS LAST;
