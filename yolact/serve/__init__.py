"""A local page to try a model: an application for the browser, and the server that runs it."""
