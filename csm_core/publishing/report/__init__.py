"""Reports for leaders as one HTML file: the portfolio, and one account.

Every figure is the result of one query on the published copy, and the report shows the query. The modules with
``figures`` in their name have the queries, ``charts`` draws results, ``page`` renders the file.
"""
