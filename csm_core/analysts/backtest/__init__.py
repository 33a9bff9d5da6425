"""The backtest: observations of scored days, what became of the accounts, and figures of how well scores predict churn.

It reads scored days and spells and does not change scores. Figures are computed from columns of numbers only.
"""
