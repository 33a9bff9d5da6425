-- Grain: one row per currency with amounts that are not in hundredths.
-- Definition: Stripe states amounts in minor units; `minor_units` of them are one major unit. The currencies and
-- their units are those of Stripe's documentation (https://docs.stripe.com/currencies, zero-decimal and
-- three-decimal currencies), which follows ISO 4217 except for ISK and UGX: Stripe states them in hundredths,
-- although they have no minor unit. A currency that is not listed has 100.
-- Worked example: 1500 minor units of jpy (1) => 1500.00; of kwd (1000) => 1.50; of usd (not listed) => 15.00.

with zero_decimal (currency) as (
    values
    ('bif'),
    ('clp'),
    ('djf'),
    ('gnf'),
    ('jpy'),
    ('kmf'),
    ('krw'),
    ('mga'),
    ('pyg'),
    ('rwf'),
    ('vnd'),
    ('vuv'),
    ('xaf'),
    ('xof'),
    ('xpf')
),

three_decimal (currency) as (
    values
    ('bhd'),
    ('iqd'),
    ('jod'),
    ('kwd'),
    ('lyd'),
    ('omr'),
    ('tnd')
)

select
    currency,
    1 as minor_units
from zero_decimal
union all
select
    currency,
    1000 as minor_units
from three_decimal
order by currency
