"""Publishing: the content of business reviews and expansion opportunities, and the pages in Notion."""
