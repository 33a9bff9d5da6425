"""What is published: the content of quarterly business reviews and expansion opportunities, and the pages in Notion."""
