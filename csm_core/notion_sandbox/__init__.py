"""A local Notion server on loopback: endpoints, limits and errors of the API over a SQLite file, and a browser view.

The client is in ``csm_core.publishing.notion``, where only ``local_notion`` imports this package.
See https://developers.notion.com/reference/intro.
"""
