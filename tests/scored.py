"""What of a run a test of scores needs: most of a run's time is Dagster's record of all the other assets."""

from tests.conftest import Company


def scored_assets(company: Company, *more: str, of: str = "csm_health_scores") -> list[str]:
    """Return the names of an asset, the assets it is made of, and ``more``: for ``select`` of a run."""
    # Processes that only read import the module of their test, and should not wait for Dagster.
    import dagster as dg

    from pipelines.build import build_defs

    graph = build_defs(company.config).resolve_asset_graph()
    above = dg.AssetSelection.assets(of).upstream().resolve(graph)
    names = {key.to_user_string() for key in above & graph.materializable_asset_keys}
    return sorted(names | set(more))
