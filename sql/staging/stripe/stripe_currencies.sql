-- Grain: one row per currency whose amounts are not in hundredths.
-- Definition: Stripe states amounts in minor units; `minor_units` of them are one major unit. Every currency that is
-- not listed has 100. ISK and UGX have no minor unit any more, but Stripe still states them in hundredths.
-- Worked example: 1500 minor units of jpy (1) => 1500.00; of kwd (1000) => 1.50; of usd (not listed) => 15.00.

select
    currency,
    minor_units
from (
    values
        ('bif', 1), ('clp', 1), ('djf', 1), ('gnf', 1), ('jpy', 1), ('kmf', 1), ('krw', 1), ('mga', 1), ('pyg', 1),
        ('rwf', 1), ('vnd', 1), ('vuv', 1), ('xaf', 1), ('xof', 1), ('xpf', 1),
        ('bhd', 1000), ('iqd', 1000), ('jod', 1000), ('kwd', 1000), ('lyd', 1000), ('omr', 1000), ('tnd', 1000)
) as listed(currency, minor_units)
order by currency
