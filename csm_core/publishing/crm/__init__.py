"""Records of HubSpot and Salesforce that show scores: target values, plan, apply, ledger, and a client for each vendor.

Only mapped fields are written. The clients send upserts by the vendor's unique field that has our account id, so that
sending the same values twice has the same result as sending them once.
"""
