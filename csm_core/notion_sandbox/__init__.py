"""The local Notion: the API's objects, limits and errors over a file, and its pages in a browser, on loopback.

Not here: the client and what it publishes (``csm_core.publishing.notion``), where only ``local_notion`` imports this
package. See https://developers.notion.com/reference/intro.
"""
