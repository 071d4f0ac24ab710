"""The pieces of the HTML pages: escaped text, tables, pictures and charts as SVG, in one style."""
