SELECT
  MIN(`t2`.`number`) AS `least`,
  MAX(`t2`.`number`) AS `most`,
  COUNT(`t2`.`number`) AS `numbers`,
  COUNT(*) AS `times`
FROM (
  SELECT
    ABS(
      CASE
        WHEN COALESCE(
          CASE
            WHEN CASE
              WHEN REGEXP_CONTAINS(`t0`.`clicked`, '^-?[0-9]{1,18}$')
              THEN SAFE_CAST(`t0`.`clicked` AS INT64)
              ELSE NULL
            END BETWEEN -4611686018428 AND 4611686018427
            THEN CASE
              WHEN REGEXP_CONTAINS(`t0`.`clicked`, '^-?[0-9]{1,18}$')
              THEN SAFE_CAST(`t0`.`clicked` AS INT64)
              ELSE NULL
            END * 1000000
            ELSE NULL
          END,
          CASE
            WHEN CASE
              WHEN REGEXP_CONTAINS(`t0`.`clicked`, '^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$')
              THEN SAFE_CAST(`t0`.`clicked` AS FLOAT64)
              ELSE NULL
            END * 1000000.0 BETWEEN -9007199254740992.0 AND 9007199254740992.0
            THEN CAST(FLOOR(
              (
                CASE
                  WHEN REGEXP_CONTAINS(`t0`.`clicked`, '^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$')
                  THEN SAFE_CAST(`t0`.`clicked` AS FLOAT64)
                  ELSE NULL
                END * 1000000.0
              ) + 0.5
            ) AS INT64)
            ELSE NULL
          END
        ) IS NOT NULL
        THEN CAST(FLOOR(
          ieee_divide(
            COALESCE(
              CASE
                WHEN CASE
                  WHEN REGEXP_CONTAINS(`t0`.`clicked`, '^-?[0-9]{1,18}$')
                  THEN SAFE_CAST(`t0`.`clicked` AS INT64)
                  ELSE NULL
                END BETWEEN -4611686018428 AND 4611686018427
                THEN CASE
                  WHEN REGEXP_CONTAINS(`t0`.`clicked`, '^-?[0-9]{1,18}$')
                  THEN SAFE_CAST(`t0`.`clicked` AS INT64)
                  ELSE NULL
                END * 1000000
                ELSE NULL
              END,
              CASE
                WHEN CASE
                  WHEN REGEXP_CONTAINS(`t0`.`clicked`, '^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$')
                  THEN SAFE_CAST(`t0`.`clicked` AS FLOAT64)
                  ELSE NULL
                END * 1000000.0 BETWEEN -9007199254740992.0 AND 9007199254740992.0
                THEN CAST(FLOOR(
                  (
                    CASE
                      WHEN REGEXP_CONTAINS(`t0`.`clicked`, '^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$')
                      THEN SAFE_CAST(`t0`.`clicked` AS FLOAT64)
                      ELSE NULL
                    END * 1000000.0
                  ) + 0.5
                ) AS INT64)
                ELSE NULL
              END
            ),
            1000000
          )
        ) AS INT64)
        ELSE CASE
          WHEN REGEXP_CONTAINS(`t0`.`clicked`, '^-?[0-9]{1,18}$')
          THEN SAFE_CAST(`t0`.`clicked` AS INT64)
          ELSE NULL
        END
      END
    ) AS `number`,
    `t0`.`clicked` IS NOT NULL AS `there`
  FROM `shop`.`raw`.`clicks` AS `t0`
  WHERE
    `t0`.`clicked` IS NOT NULL
  LIMIT 10000
) AS `t2`;

SELECT
  NULLIF(`t5`.`visitor_id`, '') AS `visitor_id`,
  CAST(NULL AS STRING) AS `session_id`,
  `t5`.`time_us`,
  NULLIF(`t5`.`item_id`, '') AS `item_id`,
  CASE
    WHEN NULLIF(`t5`.`event_type`, '') = 'look'
    THEN 'view'
    WHEN NULLIF(`t5`.`event_type`, '') = 'buy'
    THEN 'order'
    ELSE NULL
  END AS `event_type`,
  NULLIF(`t5`.`event_type`, '') AS `raw_event_type`,
  CASE
    WHEN CASE
      WHEN REGEXP_CONTAINS(`t5`.`price`, '^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$')
      THEN SAFE_CAST(`t5`.`price` AS FLOAT64)
      ELSE NULL
    END BETWEEN -9000000000 AND 9000000000
    THEN CAST(FLOOR(
      (
        CASE
          WHEN REGEXP_CONTAINS(`t5`.`price`, '^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$')
          THEN SAFE_CAST(`t5`.`price` AS FLOAT64)
          ELSE NULL
        END * 1000000.0
      ) + 0.5
    ) AS INT64)
    ELSE NULL
  END AS `price_millionths`,
  CAST(NULL AS INT64) AS `quantity`,
  CAST(NULL AS STRING) AS `currency`,
  CAST(NULL AS STRING) AS `category`,
  CAST(NULL AS STRING) AS `brand`,
  CAST(NULL AS STRING) AS `event_id`,
  CASE
    WHEN (
      `t5`.`visitor_id` IS NULL
    )
    AND (
      `t5`.`time` IS NULL
    )
    AND (
      `t5`.`item_id` IS NULL
    )
    AND (
      `t5`.`event_type` IS NULL
    )
    AND (
      `t5`.`price` IS NULL
    )
    THEN 'row'
    WHEN (
      NULLIF(`t5`.`item_id`, '') IS NULL
    )
    AND (
      NULLIF(`t5`.`item_id`, '') IS NOT NULL
    )
    THEN 'item_id'
    WHEN (
      `t5`.`time_us` IS NULL
    ) AND (
      NULLIF(`t5`.`time`, '') IS NOT NULL
    )
    THEN 'time'
    WHEN (
      CASE
        WHEN CASE
          WHEN REGEXP_CONTAINS(`t5`.`price`, '^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$')
          THEN SAFE_CAST(`t5`.`price` AS FLOAT64)
          ELSE NULL
        END BETWEEN -9000000000 AND 9000000000
        THEN CAST(FLOOR(
          (
            CASE
              WHEN REGEXP_CONTAINS(`t5`.`price`, '^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$')
              THEN SAFE_CAST(`t5`.`price` AS FLOAT64)
              ELSE NULL
            END * 1000000.0
          ) + 0.5
        ) AS INT64)
        ELSE NULL
      END IS NULL
    )
    AND (
      NULLIF(`t5`.`price`, '') IS NOT NULL
    )
    THEN 'price'
    ELSE NULL
  END AS `malformed`
FROM (
  SELECT
    `t4`.`visitor_id`,
    `t4`.`time`,
    `t4`.`item_id`,
    `t4`.`event_type`,
    `t4`.`price`,
    CASE
      WHEN `t4`.`time_offset` = ''
      THEN `t4`.`time_shown`
      WHEN SUBSTRING(
        `t4`.`time_offset`,
        IF((
          0 + 1
        ) >= 1, 0 + 1, 0 + 1 + LENGTH(`t4`.`time_offset`)),
        1
      ) = '+'
      THEN `t4`.`time_shown` - `t4`.`time_ahead`
      WHEN SUBSTRING(
        `t4`.`time_offset`,
        IF((
          0 + 1
        ) >= 1, 0 + 1, 0 + 1 + LENGTH(`t4`.`time_offset`)),
        1
      ) = '-'
      THEN `t4`.`time_shown` + `t4`.`time_ahead`
      ELSE `t4`.`time_shown`
    END AS `time_us`
  FROM (
    SELECT
      `t3`.`visitor_id`,
      `t3`.`time`,
      `t3`.`item_id`,
      `t3`.`event_type`,
      `t3`.`price`,
      `t3`.`time_whole`,
      `t3`.`time_local`,
      `t3`.`time_offset`,
      UNIX_MICROS(
        CAST(SAFE_CAST(SUBSTRING(
          `t3`.`time_local`,
          IF((
            0 + 1
          ) >= 1, 0 + 1, 0 + 1 + LENGTH(`t3`.`time_local`)),
          26
        ) AS DATETIME) AS TIMESTAMP)
      ) AS `time_shown`,
      CASE
        WHEN SUBSTRING(
          `t3`.`time_offset`,
          IF((
            0 + 1
          ) >= 1, 0 + 1, 0 + 1 + LENGTH(`t3`.`time_offset`)),
          1
        ) IN ('+', '-')
        THEN (
          (
            SAFE_CAST(SUBSTRING(
              `t3`.`time_offset`,
              IF((
                1 + 1
              ) >= 1, 1 + 1, 1 + 1 + LENGTH(`t3`.`time_offset`)),
              2
            ) AS INT64) * 60
          ) + COALESCE(
            SAFE_CAST(SUBSTRING(
              `t3`.`time_offset`,
              IF((
                3 + 1
              ) >= 1, 3 + 1, 3 + 1 + LENGTH(`t3`.`time_offset`)),
              2
            ) AS INT64),
            0
          )
        ) * 60000000
        ELSE NULL
      END AS `time_ahead`
    FROM (
      SELECT
        `t2`.`visitor_id`,
        `t2`.`time`,
        `t2`.`item_id`,
        `t2`.`event_type`,
        `t2`.`price`,
        `t2`.`time_whole`,
        CONCAT(
          REPLACE(`t2`.`time_local`, 'T', ' '),
          CASE
            WHEN LENGTH(`t2`.`time_local`) = 10
            THEN ' 00:00:00'
            WHEN LENGTH(`t2`.`time_local`) = 16
            THEN ':00'
            ELSE ''
          END
        ) AS `time_local`,
        REPLACE(
          REPLACE(
            SUBSTRING(
              `t2`.`time_whole`,
              IF(
                (
                  LENGTH(`t2`.`time_local`) + 1
                ) >= 1,
                LENGTH(`t2`.`time_local`) + 1,
                LENGTH(`t2`.`time_local`) + 1 + LENGTH(`t2`.`time_whole`)
              )
            ),
            ' ',
            ''
          ),
          ':',
          ''
        ) AS `time_offset`
      FROM (
        SELECT
          `t1`.`visitor_id`,
          `t1`.`time`,
          `t1`.`item_id`,
          `t1`.`event_type`,
          `t1`.`price`,
          `t1`.`time_whole`,
          CASE
            WHEN LENGTH(`t1`.`time_whole`) > 10
            THEN REGEXP_REPLACE(`t1`.`time_whole`, ' ?(Z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?)$', '')
            ELSE `t1`.`time_whole`
          END AS `time_local`
        FROM (
          SELECT
            `t0`.`user` AS `visitor_id`,
            `t0`.`clicked` AS `time`,
            `t0`.`product` AS `item_id`,
            `t0`.`kind` AS `event_type`,
            `t0`.`price`,
            CASE
              WHEN REGEXP_CONTAINS(
                TRIM(`t0`.`clicked`, ' \t\n\r\v\f'),
                '^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?( ?(Z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?))?)?$'
              )
              THEN TRIM(`t0`.`clicked`, ' \t\n\r\v\f')
              ELSE NULL
            END AS `time_whole`
          FROM `shop`.`raw`.`clicks` AS `t0`
        ) AS `t1`
      ) AS `t2`
    ) AS `t3`
  ) AS `t4`
) AS `t5`;
