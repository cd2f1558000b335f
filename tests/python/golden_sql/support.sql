CREATE TABLE `shop.scratch.kept_0` OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)) AS
SELECT
  `t3`.*
  EXCEPT (`length`)
FROM (
  SELECT
    *
  FROM (
    SELECT
      `t1`.`visitor_id`,
      `t1`.`session_id`,
      `t1`.`session_start`,
      `t1`.`item_id`,
      COUNT(*) OVER (
        PARTITION BY `t1`.`visitor_id`, `t1`.`session_id`, `t1`.`session_start`
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
      ) AS `length`
    FROM (
      SELECT
        `t0`.`visitor_id`,
        `t0`.`session_id`,
        `t0`.`session_start`,
        `t0`.`item_id`
      FROM `shop`.`stamp`.`stored` AS `t0`
    ) AS `t1`
  ) AS `t2`
  WHERE
    `t2`.`length` >= 2
) AS `t3`;

CREATE TABLE `shop.scratch.kept_1` OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)) AS
SELECT
  `t0`.`item_id`,
  COUNT(*) AS `n`
FROM `shop`.`scratch`.`kept_0` AS `t0`
GROUP BY
  1;

CREATE TABLE `shop.scratch.kept_2` OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)) AS
SELECT
  `t0`.`item_id`
FROM `shop`.`scratch`.`kept_1` AS `t0`
WHERE
  `t0`.`n` < 5;

CREATE TABLE `shop.scratch.kept_3` OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)) AS
SELECT
  `t0`.`visitor_id`,
  `t0`.`session_id`,
  `t0`.`session_start`
FROM `shop`.`scratch`.`kept_0` AS `t0`
LIMIT 0;

SELECT
  COUNT(*) AS `n`
FROM `shop`.`scratch`.`kept_2` AS `t0`;

SELECT
  `t0`.`item_id`
FROM `shop`.`scratch`.`kept_1` AS `t0`;
