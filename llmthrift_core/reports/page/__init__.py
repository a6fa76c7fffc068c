"""A report as a page: one HTML file that needs nothing else, and the same as Markdown. Import from `page.review`."""
