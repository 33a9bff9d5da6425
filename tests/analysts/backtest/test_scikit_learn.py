"""The AUC of each date against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from csm_core.analysts.backtest.ranks import Outcomes, pair_counts
from tests.analysts.backtest.made import portfolio


@pytest.mark.parametrize("rounded", [False, True], ids=["distinct", "ties"])
def test_each_date_equals_scikit_learn(rounded):
    observations = portfolio(np.random.default_rng(3), 0.7, accounts=2000, churn=0.05).observations
    score = np.round(observations.score / 5) * 5 if rounded else observations.score
    differences = []
    for day in range(len(observations.dates)):
        inside = observations.day == day
        outcomes = Outcomes(observations.day[inside], observations.account[inside], observations.churned[inside], 2000)
        expected = roc_auc_score(observations.churned[inside], -score[inside])
        differences.append(abs(pair_counts(outcomes, score[inside]).auc - expected))
    assert len(differences) == 12
    assert max(differences) < 1e-12
