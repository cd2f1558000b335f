SELECT
  NULLIF(`t3`.`visitor_id`, '') AS `visitor_id`,
  NULLIF(CAST(`t3`.`session_id` AS STRING), '') AS `session_id`,
  `t3`.`time_us`,
  NULLIF(`t3`.`item_id`, '') AS `item_id`,
  CASE
    WHEN NULLIF(`t3`.`event_type`, '') = 'view_item'
    THEN 'view'
    WHEN NULLIF(`t3`.`event_type`, '') = 'add_to_cart'
    THEN 'cart'
    WHEN NULLIF(`t3`.`event_type`, '') = 'remove_from_cart'
    THEN 'remove'
    WHEN NULLIF(`t3`.`event_type`, '') = 'purchase'
    THEN 'order'
    ELSE NULL
  END AS `event_type`,
  NULLIF(`t3`.`event_type`, '') AS `raw_event_type`,
  CASE
    WHEN `t3`.`price` BETWEEN -9000000000 AND 9000000000
    THEN CAST(FLOOR((
      `t3`.`price` * 1000000.0
    ) + 0.5) AS INT64)
    ELSE NULL
  END AS `price_millionths`,
  `t3`.`quantity`,
  NULLIF(`t3`.`currency`, '') AS `currency`,
  NULLIF(`t3`.`category`, '') AS `category`,
  NULLIF(`t3`.`brand`, '') AS `brand`,
  CAST(NULL AS STRING) AS `event_id`,
  CASE
    WHEN (
      `t3`.`visitor_id` IS NULL
    )
    AND (
      `t3`.`session_id` IS NULL
    )
    AND (
      `t3`.`time` IS NULL
    )
    AND (
      `t3`.`item_id` IS NULL
    )
    AND (
      `t3`.`event_type` IS NULL
    )
    AND (
      `t3`.`price` IS NULL
    )
    AND (
      `t3`.`quantity` IS NULL
    )
    AND (
      `t3`.`currency` IS NULL
    )
    AND (
      `t3`.`category` IS NULL
    )
    AND (
      `t3`.`brand` IS NULL
    )
    THEN 'row'
    WHEN (
      NULLIF(`t3`.`item_id`, '') IS NULL
    )
    AND (
      NULLIF(`t3`.`item_id`, '') IS NOT NULL
    )
    THEN 'item_id'
    WHEN (
      `t3`.`time_us` IS NULL
    )
    AND (
      NULLIF(CAST(`t3`.`time` AS STRING), '') IS NOT NULL
    )
    THEN 'time'
    WHEN (
      CASE
        WHEN `t3`.`price` BETWEEN -9000000000 AND 9000000000
        THEN CAST(FLOOR((
          `t3`.`price` * 1000000.0
        ) + 0.5) AS INT64)
        ELSE NULL
      END IS NULL
    )
    AND (
      NULLIF(CAST(`t3`.`price` AS STRING), '') IS NOT NULL
    )
    THEN 'price'
    WHEN (
      `t3`.`quantity` IS NULL
    )
    AND (
      NULLIF(CAST(`t3`.`quantity` AS STRING), '') IS NOT NULL
    )
    THEN 'quantity'
    ELSE NULL
  END AS `malformed`
FROM (
  SELECT
    `t2`.`user_pseudo_id` AS `visitor_id`,
    ARRAY(
      SELECT
        __ibis_param_each__.`value`.`int_value`
      FROM UNNEST(ARRAY(
        SELECT
          __ibis_param_each__
        FROM UNNEST(`t2`.`event_params`) AS __ibis_param_each__
        WHERE
          __ibis_param_each__.`key` = 'ga_session_id'
      )) AS __ibis_param_each__
    )[safe_offset(0)] AS `session_id`,
    `t2`.`event_timestamp` AS `time`,
    NULLIF(`t2`.`items`.`item_id`, '(not set)') AS `item_id`,
    `t2`.`event_name` AS `event_type`,
    `t2`.`items`.`price` AS `price`,
    `t2`.`items`.`quantity` AS `quantity`,
    ARRAY(
      SELECT
        __ibis_param_each__.`value`.`string_value`
      FROM UNNEST(ARRAY(
        SELECT
          __ibis_param_each__
        FROM UNNEST(`t2`.`event_params`) AS __ibis_param_each__
        WHERE
          __ibis_param_each__.`key` = 'currency'
      )) AS __ibis_param_each__
    )[safe_offset(0)] AS `currency`,
    NULLIF(`t2`.`items`.`item_category`, '(not set)') AS `category`,
    NULLIF(`t2`.`items`.`item_brand`, '(not set)') AS `brand`,
    CASE
      WHEN `t2`.`event_timestamp` BETWEEN -4611686018427387904 AND 4611686018427387904
      THEN `t2`.`event_timestamp` * 1
      ELSE NULL
    END AS `time_us`
  FROM (
    SELECT
      `t1`.*
      REPLACE (`ibis_table_unnest_column_0` AS `items`)
    FROM (
      SELECT
        `t0`.`event_date`,
        `t0`.`event_timestamp`,
        `t0`.`event_name`,
        `t0`.`event_params`,
        `t0`.`event_bundle_sequence_id`,
        `t0`.`user_id`,
        `t0`.`user_pseudo_id`,
        `t0`.`device`,
        `t0`.`ecommerce`,
        `t0`.`items`
      FROM `shop`.`analytics`.`events_*` AS `t0`
      WHERE
        `t0`.`_TABLE_SUFFIX` IN ('20260401', 'intraday_20260402')
        AND COALESCE(
          COALESCE(`t0`.`event_name`, '') IN ('view_item', 'add_to_cart', 'remove_from_cart', 'purchase')
          OR (
            NOT (
              COALESCE(`t0`.`event_name`, '') IN (
                'view_item_list',
                'select_item',
                'view_cart',
                'begin_checkout',
                'add_shipping_info',
                'add_payment_info',
                'add_to_wishlist',
                'view_promotion',
                'select_promotion',
                'refund',
                'generate_lead'
              )
            )
            AND COALESCE(ARRAY_LENGTH(`t0`.`items`) > 0, FALSE)
          ),
          FALSE
        )
    ) AS `t1`
    LEFT JOIN UNNEST(`t1`.`items`) AS `ibis_table_unnest_column_0`
  ) AS `t2`
) AS `t3`;
