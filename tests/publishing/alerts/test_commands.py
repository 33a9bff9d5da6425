"""The commands of alerts on a warehouse that has nothing, or nothing scored."""

import pytest

from csm_core.warehouse.database import Warehouse
from tests.conftest import make_company
from tests.in_process import csm


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("list",), 0, "no alert is open"),
        (("list", "--json"), 0, "[]"),
        (("outbox",), 0, "there are no digests"),
        (("resend",), 0, "there are no digests"),
        (("resend", "--dry-run", "--json"), 0, "[]"),
        (("resend", "--route", "nobody"), 2, "there is no route 'nobody'; expected one of data_team, outbox"),
        (("silence", "A1", "--until", "2026-10-01", "--reason", "x"), 2, "nothing is scored yet"),
        (("rehearse", "--from", "2026-10-01", "--to", "2026-10-02"), 2, "nothing is scored yet"),
        (("silence", "A1", "--until", "soon", "--reason", "x"), 2, "soon"),
    ],
)
def test_a_warehouse_without_scores_has_no_alerts(tmp_path, arguments, status, said):
    company = make_company(tmp_path, tmp_path)
    with_warehouse = {"CSM_CONFIG": str(company.config_file)}
    missing = csm("alerts", *arguments, folder=company.folder, environment=with_warehouse)
    assert missing.status == 2
    with Warehouse.from_config(company.config).connect():
        pass
    done = csm("alerts", *arguments, folder=company.folder, environment=with_warehouse)
    assert done.error is None
    assert done.status == status
    assert said in done.stdout + done.stderr
