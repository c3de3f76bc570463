"""Web pages that work offline: templates, and charts as SVG. No torch."""
