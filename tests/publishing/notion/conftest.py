"""Requests of these tests are checked against the published schema of Notion."""

from tests.notion_requests import requests_checked as requests_checked
from tests.notion_requests import schema_of_requests as schema_of_requests
