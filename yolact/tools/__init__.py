"""What stands around the core: data in and out, pages, runtimes. The core imports nothing of it."""
